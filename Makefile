# Two commands set everything up on a fresh machine: `make demo` and `make test`. Both can be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
POLICIES := .venv-integration
ROBOSUITE := .venv-robosuite
LEROBOT := .venv-lerobot
POLICY_PIP := $(POLICIES)/bin/python -m pip --disable-pip-version-check
export OMP_NUM_THREADS ?= 1
# children of tests import the library again and again: bytecode is kept, whatever the shell says
export PYTHONDONTWRITEBYTECODE :=
export MUJOCO_GL ?= egl
# processes that share the everyday tests: a number, or auto for one a core
WORKERS ?= auto

# what has torch where the GPU is, and settings of `make gpu`: GPU="--device cpu --tiny" is a trial
GPU_PYTHON ?= python3
GPU ?= --out results/gpu
OLDEST := .venv-oldest
MATRIX_PYTHON ?= $(PYTHON)
# what the quick tier runs: the library alone, no simulator, no docs, nothing of the extras
QUICK := $(wildcard $(patsubst %,tests/test_%.py,house package term terms* pair flags mmd* transport* discriminator* \
  guidance mixing*))

# LeRobot of today needs Python 3.12: the one on the path, else pyenv's newest.
WHERE := -c 'import sys; print(sys.executable)' 2>/dev/null
PYTHON312 ?= $(shell python3.12 $(WHERE) || \
  PYENV_VERSION=$$(pyenv versions --bare 2>/dev/null | grep '^3\.12' | tail -n 1) python3.12 $(WHERE))

.PHONY: help demo quick test long matrix wheel oldest mutants lines calls gpu gpu-bundle lint types docs integration integration-lerobot notebook \
  notebook-robomimic notebook-diffusion-policy python312 robosuite slurm clean

help:
	@echo "make demo    co-train a policy on two MuJoCo domains; tables, pictures and reports in runs/demo"
	@echo "make quick   the library's own tests, under a minute;   make test   the whole test suite"
	@echo "make oldest  the quick tier with Python 3.11 and the oldest versions that are promised"
	@echo "make integration   real LeRobot and robomimic policies, wrapped, trained and rolled out (an environment of its own)"
	@echo "make integration-lerobot   LeRobot of today, with Python 3.12: adapters, lerobot-train and cotrain lerobot-train"
	@echo "make notebook, notebook-robomimic, notebook-diffusion-policy   the notebook of a whole run, run again with its outputs"
	@echo "make matrix  the quick tier with Python 3.10 to 3.13, oldest and newest torch;   make long   what takes hours"
	@echo "make wheel   the wheel, installed in an environment of its own and tested from elsewhere"
	@echo "make gpu     every number that needs a GPU, in about 4 minutes, by GPU_PYTHON, which has torch; installs nothing"
	@echo "make gpu-bundle   one folder under 50 MB with all that make gpu needs beside torch, for a machine without network"
	@echo "make lint    ruff;   make types   mypy --strict;   make docs   the site in site/;   make lines, make calls   how much there is and runs"

demo: $(VENV)/.installed
	$(BIN)/cotrain bench sim2sim --preset demo --seed 0 --gap visual-control --methods real_only,cotraining,cfg_adda --out runs/demo/visual-control
	$(BIN)/cotrain bench sim2sim --preset demo --seed 0 --gap control --out runs/demo/control

quick: $(VENV)/.installed
	$(BIN)/python -m pytest $(QUICK)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(WORKERS) --durations 25 --durations-min 5

# Outside CI, an hour or more; each part can be run alone, and goes on where it was cut off.
long: $(VENV)/.installed
	$(BIN)/python -m tests.tools.long --page docs/long.md

mutants: $(VENV)/.installed
	$(BIN)/python -m tests.tools.mutants --seed 0 --count 200 --page docs/mutants.md

# Outside CI: it installs torch eight times.  The page says what came of it.
matrix:
	$(MATRIX_PYTHON) -m tests.tools.matrix --page docs/matrix.md $(QUICK)

# Outside CI: the wheel in an environment of its own, tested from a folder that holds the tests and nothing else.
wheel:
	@rm -rf dist .venv-wheel && $(PYTHON) -m venv .venv-wheel && .venv-wheel/bin/python -m pip install --quiet build
	@.venv-wheel/bin/python -m build --outdir dist . >/dev/null
	@.venv-wheel/bin/python -m pip install --quiet -c constraints.txt "$$(echo dist/*.whl)[test]"
	@mkdir .venv-wheel/elsewhere && tar xzf dist/*.tar.gz -C .venv-wheel/elsewhere --strip-components=1 --wildcards '*/tests' '*/setup.cfg'
	cd .venv-wheel/elsewhere && ../bin/python -m pytest $(filter-out tests/test_house.py tests/test_package.py,$(QUICK))

oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest $(QUICK)

# On a machine with a GPU and a Python that has torch; installs nothing, needs no network, takes about 4 minutes.
gpu:
	PYTHONPATH="$(CURDIR):$(CURDIR)/benchmarks:$$PYTHONPATH" $(GPU_PYTHON) -m cotrain_bench.gpu $(GPU)

gpu-bundle: $(VENV)/.installed
	$(BIN)/python -m cotrain_bench.gpu.bundle --out gpu-bundle

calls: $(VENV)/.installed
	$(BIN)/python -m cotrain_bench.calls

lines:
	@$(PYTHON) -m tests.tools.lines

lint: $(VENV)/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

docs: $(VENV)/.installed
	$(BIN)/sphinx-build -W --keep-going -q docs site
	$(BIN)/python -m tests.tools.links site

integration: $(POLICIES)/.installed slurm
	$(POLICIES)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 15 --durations-min 5 -m integration tests/integration

python312:
	@test -n "$(PYTHON312)"

integration-lerobot: $(LEROBOT)/.installed
	$(LEROBOT)/bin/python -m pytest -n $(WORKERS) --dist loadfile --durations 15 --durations-min 5 -m integration_lerobot tests/integration_lerobot

# A whole sim-and-real run with LeRobot: the script is run, its outputs are written into the page and the notebook.
notebook: $(LEROBOT)/.installed
	PATH="$(CURDIR)/$(LEROBOT)/bin:$$PATH" $(LEROBOT)/bin/python tests/tools/notebook.py examples/lerobot/sim_and_real.py \
	  docs/sim-and-real.md examples/lerobot/sim_and_real.ipynb

notebook-robomimic: $(POLICIES)/.installed
	PATH="$(CURDIR)/$(POLICIES)/bin:$$PATH" $(POLICIES)/bin/python tests/tools/notebook.py examples/robomimic/from_a_file.py \
	  docs/robomimic-run.md examples/robomimic/from_a_file.ipynb tests/integration/conftest.py

# diffusion_policy is on no package index: DIFFUSION_POLICY is a clone of it.
notebook-diffusion-policy: $(POLICIES)/.installed
	@test -d "$(DIFFUSION_POLICY)/diffusion_policy" || { \
	  echo "The notebook runs a clone of real-stanford/diffusion_policy, got DIFFUSION_POLICY=$(DIFFUSION_POLICY). Name one: make DIFFUSION_POLICY=/path/to/diffusion_policy $@"; exit 1; }
	PYTHONPATH="$(abspath $(DIFFUSION_POLICY))" $(POLICIES)/bin/python tests/tools/notebook.py examples/diffusion_policy/workspace.py \
	  docs/diffusion-policy-run.md examples/diffusion_policy/workspace.ipynb tests/integration/conftest.py

# A real Slurm node is started by the tests, on loopback; only its programs are installed here.
slurm:
	@which sbatch slurmctld slurmd munged >/dev/null 2>&1 || { echo "Installing slurm-wlm and munge"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurm-wlm munge >/dev/null; } || { \
	  echo "The cluster tests start a real Slurm node. As root, on Debian or Ubuntu: apt-get install slurm-wlm munge"; exit 1; }

$(VENV)/.installed: setup.cfg setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "cotrain_losses needs Python 3.10 or newer, got: $$($(PYTHON) --version 2>&1 || echo none). Name one: make PYTHON=python3.11 test"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "A virtual environment could not be made with $(PYTHON). On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) (a few minutes the first time)"
	@$(PIP) install --quiet -c constraints.txt -e '.[bench,data,dev,docs]' || { \
	  echo "Installation failed: the lines above name the package. Check the network and the free disk space, then run make again."; exit 1; }
	@touch $@

# The oldest versions that setup.cfg promises for Python 3.11, everything else as in constraints.txt.
$(OLDEST)/.installed: setup.cfg constraints.txt constraints-oldest.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "The oldest versions are tried with Python 3.11, got: $$($(PYTHON) --version 2>&1). Name one: make PYTHON=python3.11 oldest"; exit 1; }
	@$(PYTHON) -m venv $(OLDEST)
	@echo "Installing the oldest versions into $(OLDEST) (a CUDA build of torch: 5 GB, a few minutes)"
	@cut -d= -f1 constraints-oldest.txt | grep -v '^#' | sed 's/.*/^&==/' > $(OLDEST)/replaced
	@{ cat constraints-oldest.txt; grep -vif $(OLDEST)/replaced constraints.txt; } > $(OLDEST)/constraints.txt
	@$(OLDEST)/bin/python -m pip --disable-pip-version-check install --quiet --no-cache-dir -c $(OLDEST)/constraints.txt -e '.[test]'
	@touch $@

# LeRobot and robomimic pin older torch versions, so they are installed without their requirements, which are listed.
$(POLICIES)/.installed: setup.cfg tests/integration/requirements.txt tests/integration/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "LeRobot 0.4.4 and robomimic 0.3.0 are run here with Python 3.11, got: $$($(PYTHON) --version 2>&1). Name one: make PYTHON=python3.11 integration"; exit 1; }
	@$(PYTHON) -m venv $(POLICIES)
	@echo "Installing LeRobot and robomimic into $(POLICIES) (several minutes the first time)"
	@$(POLICY_PIP) install --quiet -c tests/integration/constraints.txt torch==2.13.0
	@$(POLICY_PIP) install --quiet -c tests/integration/constraints.txt -r tests/integration/requirements.txt
	@$(POLICY_PIP) install --quiet --no-deps torchvision==0.28.0 lerobot==0.4.4 robomimic==0.3.0
	@$(POLICY_PIP) install --quiet --no-deps -e .
	@touch $@

# LeRobot caps torch below 2.12, whose wheel on the index is built for CUDA: 6 GB in all.
$(LEROBOT)/.installed: setup.cfg tests/integration_lerobot/requirements.txt plugins/lerobot_policy_cotrain/pyproject.toml
	@test -n "$(PYTHON312)" || { \
	  echo "LeRobot 0.6.1 needs Python 3.12, got none on the path or in pyenv. Name one: make PYTHON312=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON312) -m venv $(LEROBOT)
	@echo "Installing LeRobot into $(LEROBOT) (several minutes the first time)"
	@$(LEROBOT)/bin/python -m pip --disable-pip-version-check install --quiet -r tests/integration_lerobot/requirements.txt -e '.[cli,data,test]' -e ./plugins/lerobot_policy_cotrain
	@touch $@

# robosuite needs numpy 1 and another MuJoCo.
robosuite: $(ROBOSUITE)/.installed
	$(ROBOSUITE)/bin/python -m pytest -m robosuite tests/integration_robosuite

$(ROBOSUITE)/.installed: setup.cfg tests/integration_robosuite/requirements.txt
	@$(PYTHON) -m venv $(ROBOSUITE)
	@echo "Installing robosuite into $(ROBOSUITE) (a few minutes the first time)"
	@$(ROBOSUITE)/bin/python -m pip --disable-pip-version-check install --quiet torch==2.13.0
	@$(ROBOSUITE)/bin/python -m pip --disable-pip-version-check install --quiet -r tests/integration_robosuite/requirements.txt
	@$(ROBOSUITE)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps -e .
	@touch $@

clean:
	rm -rf $(VENV) .venv-wheel dist $(OLDEST) $(POLICIES) $(ROBOSUITE) $(LEROBOT) .venv-matrix .mutants build site docs/gallery runs *.egg-info
