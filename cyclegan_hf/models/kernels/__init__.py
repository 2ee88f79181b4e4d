"""What exists for speed: the same results, computed otherwise, behind one switch each."""
