# Everything a newcomer needs: `make demo` and `make test`. The rest is for those who work on the code.
PYTHON ?= python3
# PyTorch's wheel index for CPU builds, where the default index would bring a CUDA build (README).
TORCH_INDEX ?=
# Processes that `make test` runs tests in, and `make slow` those that no clock judges: the slow ones
# of the folders in ALONE are about answers within a second, but for those in BESIDE.
WORKERS ?= 2
ALONE := tests/service tests/cluster
BESIDE := tests/service/page tests/service/access tests/service/test_schemathesis.py \
	tests/service/test_generated_clients.py

VENV := .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Tests start hundreds of processes: what each would compile anew is kept, whatever the caller's
# environment says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo serve paper-small test check slow long docs pictures site mutants sbom audit clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(RUN)/pip install -q -c constraints.txt --index-url $(TORCH_INDEX) torch)
	$(RUN)/pip install -q -c constraints.txt -e '.[service,worker,client,dev]'
	touch $(STAMP)
	@echo "To have isslim on the PATH of this shell: source $(RUN)/activate"

demo: setup  ## trains a small model on Python's own documentation, compresses it, serves and compares both
	$(RUN)/isslim demo

serve: setup  ## service and worker together, on the embedded default
	$(RUN)/isslim serve

# CORPUS is a folder (docs/benchmarks.md, "Data"); ARGS: --units 200, --strengths 0.002 0.004, ...
CORPUS ?= pydoc
paper-small: setup  ## the paper's experiment at small size, in at most an hour; stopped runs continue
	$(RUN)/python -m benchmarks.paper.small --corpus $(CORPUS) $(ARGS)

test: setup
	OMP_NUM_THREADS=1 $(RUN)/pytest -n $(WORKERS) --dist loadfile -m 'not slow and not long'

check: setup
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports

slow: setup  ## the tests that take minutes
	OMP_NUM_THREADS=1 $(RUN)/pytest -n $(WORKERS) --dist loadfile -m slow $(ALONE:%=--ignore=%)
	OMP_NUM_THREADS=1 $(RUN)/pytest -n $(WORKERS) --dist loadfile -m slow $(BESIDE)
	$(RUN)/pytest -m slow $(ALONE) $(BESIDE:%=--ignore=%)

long: setup  ## the tests that only do more of what slow ones do
	OMP_NUM_THREADS=1 $(RUN)/pytest -n $(WORKERS) --dist loadfile -m long

docs: setup  ## the pages and pictures that are generated
	$(RUN)/python -m isslim.settings > docs/configuration.md
	$(RUN)/python -m isslim.client.page > docs/commands.md
	$(RUN)/python -m supply_chain.licences > docs/licences.md
	$(RUN)/python -m benchmarks.ptb.picture
	$(RUN)/python -m benchmarks.paper.figures
	$(RUN)/python -c 'from tests.compress.onnx.trace.test_registry import PAGE, page; PAGE.write_text(page())'

pictures: setup  ## the pictures of the page in docs/, by a browser; on a quiet host
	TEST_PICTURES=docs/pictures $(RUN)/pytest -m long tests/service/page/test_pictures.py

site: setup  ## the documentation as a site, in site/
	$(RUN)/mkdocs build --strict

# FILES names modules, such as isslim/compress/pruning/axes.py; all of tests/mutants/table.py without.
# ARGS: --every 4 (a sample), --survivors (those of the last run),
# --since COMMIT (those of lines that changed too), --again.
FILES ?=
ARGS ?=
mutants: setup  ## do a module's own tests notice faults in it? Records are in benchmarks/records/mutants
	OMP_NUM_THREADS=1 $(RUN)/python -m tests.mutants $(ARGS) $(FILES)

sbom: setup  ## bills of materials of the images, in CycloneDX
	$(RUN)/python -m supply_chain.sbom sbom

audit: setup  ## known weaknesses of the pinned packages; needs PyPI itself, which a mirror is not
	$(RUN)/python -m supply_chain.audit

clean:
	rm -rf $(VENV) data demo site
