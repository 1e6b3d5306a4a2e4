"""Decisions about rented machines: what may be taken, what it costs, and what must be done about each. Pure.

rules        what may be rented, and where prompts may go             places   the same for what is there already
choice       offers → those that do, the best first, and why not the rest
transitions  THE table of a rental's states    settle   a provider's list → the next steps    wanted   what is used
ledger       what rentals cost, by each provider's own rounding
budget       how a budget stands, and what is stopped when it is spent
report       the ledger beside the tokens that were served
"""
