"""A referral, from the request for it to the event made of it."""
