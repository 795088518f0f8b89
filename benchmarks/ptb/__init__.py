"""Penn Treebank: the paper's experiment and its like, from configurations to tables beside the published ones.

python -m benchmarks.ptb.run CONFIG [--seed 1] [--corpus ptb]    trains one configuration, or goes on with it; writes a record
python -m benchmarks.ptb.report [--json]                         all records beside what the paper reports
"""
