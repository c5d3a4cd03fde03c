"""When things happen: the slots of editions, and the clock that rings for them."""
