"""One module for each bench; each says what is measured, beside what, and what is aimed at."""
