"""Who receives what, and why we may write to them.

Subscribers, subscriptions, consent, preferences, suppression and the signed links that readers hold.
Self-contained: it imports nothing of ``syndicate``, and knows a newsletter only by its number.
"""
