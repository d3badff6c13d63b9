"""What a notebook shows while a run goes on. The only place that imports IPython."""
