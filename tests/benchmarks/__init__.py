"""Speed and memory benchmarks with goals, as ratios within one run: ``make bench``. Not part of the tests."""
