-- The demo's ERP (PostgreSQL): its own names, generated ids, decimals, booleans, times with a zone.

CREATE TABLE public.item (
    id          integer       GENERATED ALWAYS AS IDENTITY (START WITH 70001) PRIMARY KEY,
    code        varchar(64)   NOT NULL UNIQUE,
    name        varchar(200)  NOT NULL,
    list_price  numeric(12,2) NOT NULL,
    currency    char(3)       NOT NULL,
    on_hand     integer       NOT NULL DEFAULT 0,
    active      boolean       NOT NULL DEFAULT true,
    attributes  jsonb,
    web_text    text,
    storage_bin varchar(20),                                   -- the ERP's alone: cdcd never touches it
    changed_at  timestamptz   NOT NULL DEFAULT now()
);

CREATE TABLE public.partner (
    id            bigint        GENERATED ALWAYS AS IDENTITY (START WITH 5000) PRIMARY KEY,
    partner_no    varchar(32)   NOT NULL UNIQUE,
    name          varchar(200)  NOT NULL,
    partner_group char(1)       NOT NULL DEFAULT 'R' CHECK (partner_group IN ('R', 'T')),
    country       char(2)       NOT NULL,
    registered_at timestamptz,
    newsletter    boolean       NOT NULL DEFAULT false,
    credit_limit  numeric(14,2) NOT NULL DEFAULT 0,
    blocked       boolean       NOT NULL DEFAULT false
);

CREATE TABLE public.partner_contact (
    id               bigint       GENERATED ALWAYS AS IDENTITY (START WITH 9000) PRIMARY KEY,
    partner_id       bigint       NOT NULL REFERENCES public.partner (id),
    email            varchar(190) NOT NULL UNIQUE,
    full_name        varchar(200) NOT NULL,
    phone            varchar(40),
    contract_terms   text,
    discount_percent numeric(5,2) NOT NULL DEFAULT 0,
    contract_until   date
);
CREATE INDEX ON public.partner_contact (partner_id);

CREATE TABLE public.sales_order (
    id           bigint        GENERATED ALWAYS AS IDENTITY (START WITH 300000) PRIMARY KEY,
    order_no     varchar(32)   NOT NULL UNIQUE,
    partner_id   bigint        NOT NULL REFERENCES public.partner (id),
    state        text          NOT NULL CHECK (state IN ('open', 'paid', 'picking', 'done', 'void')),
    ordered_at   timestamptz   NOT NULL,
    amount_total numeric(14,2) NOT NULL,
    currency     char(3)       NOT NULL,
    remark       text,
    promised_on  date,
    tracking_ref varchar(64),
    shipped_at   timestamptz
);
CREATE INDEX ON public.sales_order (partner_id);
CREATE INDEX ON public.sales_order (state, id);

CREATE TABLE public.sales_order_line (
    id         bigint        GENERATED ALWAYS AS IDENTITY (START WITH 800000) PRIMARY KEY,
    order_id   bigint        NOT NULL REFERENCES public.sales_order (id),
    line_no    integer       NOT NULL,
    item_id    integer       NOT NULL REFERENCES public.item (id),
    qty        numeric(12,3) NOT NULL,
    unit_price numeric(12,2) NOT NULL,
    UNIQUE (order_id, line_no)
);
CREATE INDEX ON public.sales_order_line (item_id);
