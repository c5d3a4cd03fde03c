"""Articles become mail: select, render, inline, compose. No SQL, no network, no clock."""
