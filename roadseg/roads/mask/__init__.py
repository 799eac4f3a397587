"""From probability to a clean road mask, in blocks on disk."""
