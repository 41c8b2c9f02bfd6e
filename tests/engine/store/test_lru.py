"""A memory that is bounded by the sizes of its values."""

from pkgcache.engine.store.lru import ByteLru


def test_the_least_recently_used_goes_first() -> None:
    lru: ByteLru[str, str] = ByteLru(30)
    for key in "abc":
        lru.put(key, key.upper(), 10)
    assert lru.get("a") == "A"  # counts as a use
    lru.put("d", "D", 10)
    assert [lru.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    assert (len(lru), lru.bytes) == (3, 30)


def test_a_large_value_displaces_as_many_as_it_must() -> None:
    lru: ByteLru[str, int] = ByteLru(30)
    for number, key in enumerate("abc"):
        lru.put(key, number, 10)
    lru.put("large", 9, 15)
    assert [lru.get(key) for key in ("a", "b", "c", "large")] == [None, None, 2, 9]
    assert lru.bytes == 25


def test_what_is_larger_than_all_of_it_displaces_nothing_but_its_own_old_value() -> None:
    lru: ByteLru[str, int] = ByteLru(30)
    lru.put("a", 1, 10)
    lru.put("b", 2, 10)
    lru.put("a", 3, 31)
    assert lru.get("a") is None, "the old value of that key is out of date"
    assert (lru.get("b"), lru.bytes) == (2, 10)


def test_a_new_value_takes_the_olds_place_and_size() -> None:
    lru: ByteLru[str, int] = ByteLru(30)
    lru.put("a", 1, 10)
    lru.put("a", 2, 25)
    assert (lru.get("a"), lru.bytes, len(lru)) == (2, 25, 1)


def test_what_is_removed_takes_no_room() -> None:
    lru: ByteLru[str, int] = ByteLru(30)
    lru.put("a", 1, 10)
    lru.put("b", 2, 20)
    lru.drop("a")
    lru.drop("never there")
    assert (lru.get("a"), lru.bytes, len(lru)) == (None, 20, 1)
    lru.clear()
    assert (lru.get("b"), lru.bytes, len(lru)) == (None, 0, 0)


def test_a_memory_of_no_bytes_keeps_nothing_that_has_any() -> None:
    lru: ByteLru[str, int] = ByteLru(0)
    lru.put("a", 1, 1)
    assert len(lru) == 0
