"""Denoisers of others: what adapters make of models that this package did not train."""
