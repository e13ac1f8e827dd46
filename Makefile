# Every target makes its own environment first, in .venv.
#   make results [PROFILE=full] [WORKERS=2]   the main job, into results/PROFILE
#   make test | quick-test | lint | lab       all tests, those of a minute, ruff and stored outputs, JupyterLab
#   make publish [PROFILE=full]               copy results/PROFILE to results/published and renew the tables

PYTHON ?= python3
PROFILE ?= quick
WORKERS ?= 2
# where containers set it, each process would compile torch, pandas and what else it imports anew: 5 s
unexport PYTHONDONTWRITEBYTECODE

SWEEPS = $(patsubst %,notebooks/sweeps/%.yaml,data_loading old_photos loss_ablation pix2pix_limits srgan_pretraining identity)

BIN = .venv/bin
READY = .venv/ready

.PHONY: results publish test quick-test lint lab
.DELETE_ON_ERROR:

results: $(READY)
	@$(BIN)/restoration samples
	@$(BIN)/restoration sweep $(SWEEPS) --profile $(PROFILE) --workers $(WORKERS)
	@$(BIN)/restoration report $(SWEEPS) --profile $(PROFILE)

publish: $(READY)
	@$(BIN)/restoration report $(SWEEPS) --profile $(PROFILE) --publish

test: $(READY)
	@$(BIN)/restoration samples
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

quick-test: $(READY)
	$(BIN)/python -m pytest -m "not slow and not browser"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

lab: $(READY)
	@$(BIN)/restoration samples
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks

# uv installs in seconds where pip takes minutes; pip is there for those whose index only pip knows
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[test,sweep]' \
	  || $(BIN)/python -m pip install --quiet --editable '.[test,sweep]'
	@touch $(READY)
