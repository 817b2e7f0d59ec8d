"""What a person wants to hear of: occurrences, kept and listed (`cdcd events`), and told by webhook, e-mail or a command."""
