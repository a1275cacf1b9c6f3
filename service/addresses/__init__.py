"""The address book of an account: where its withdrawals may go."""
