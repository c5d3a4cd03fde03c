"""Articles become feeds and pages. No SQL, no network."""
