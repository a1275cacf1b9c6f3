"""What orders and withdrawals share: plans of intents, the funds they need, and how far they have come."""
