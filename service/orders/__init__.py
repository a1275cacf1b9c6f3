"""Orders: swaps that a trade key asked for, from acceptance to the fill that the receipt's logs show."""
