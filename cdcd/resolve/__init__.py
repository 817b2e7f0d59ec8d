"""resolve: from journalled changes to golden records and outbox units. Pure decisions around one state commit."""
