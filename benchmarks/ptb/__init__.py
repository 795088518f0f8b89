"""Penn Treebank: the paper's experiment, from configurations to tables beside published results.

python -m benchmarks.ptb.run CONFIG [--seed 1] [--corpus ptb]
    trains one configuration, or continues it; writes a record
python -m benchmarks.ptb.report [--json] [--plots FOLDER]
    all records beside what the paper reports
python -m benchmarks.ptb.speed CONFIG [--seed 1] [--json]
    how fast a compressed run is beside its original
"""
