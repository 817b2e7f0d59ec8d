"""cdcd keeps an ERP database and a storefront database in step."""
