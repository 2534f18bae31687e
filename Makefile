# What there is to do in this repository; `make help` lists it. The work is done in scripts/.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run run_server setup build test run_tests fuzz bench load soak pressure gpu-test fmt lint \
        build_docker run_docker_server remove_container clean

## folder of models that `make run` serves
MODELS ?= models
## port that `make run` and the container serve on
PORT ?= 50000
## name of the container image
IMAGE ?= tiny_model_server/server:latest
## how long `make soak` and `make pressure` take, without its beginning and end
SOAK_MINUTES ?= 60
## what `make load` does: text, image, mixed or spike
SCENARIO ?= mixed
## users of `make load`; a spike has ten times as many for a while
USERS ?= 10
## how long `make load` takes
LOAD_SECONDS ?= 30
export MODELS PORT

# In this order: name what is missing before anything is downloaded, and download before compiling.
PREPARE = scripts/prerequisites.sh && scripts/guests.sh && scripts/onnxruntime.sh && scripts/weights.sh

## list targets and variables
help:
	@awk '/^## /{text=substr($$0,4);next} \
	  /^[a-zA-Z_-]+:/&&text{split($$1,name,":");printf "make %-20s %s\n",name[1],text} \
	  /^[A-Z]+ \?=/&&text{vars=vars sprintf("%-25s %s [%s]\n",$$1"=",text,$$3)} \
	  {text=""} END{printf "\n%s",vars}' Makefile

## build what is missing, serve the models, and show a first call
run:
	@scripts/port.sh && $(PREPARE) && scripts/build.sh && exec scripts/run.sh

## the same as run
run_server: run

## install what building needs: Debian packages, the Wasm target, ONNX Runtime, large weights
setup:
	@$(PREPARE)

## build target/release/tms and every models/NAME/model.wasm
build:
	@$(PREPARE) && scripts/build.sh

## run all tests, with all their set-up
test:
	@$(PREPARE) && scripts/python.sh && scripts/build.sh && exec scripts/test.sh

## the same as test
run_tests: test

## look for inputs that break the server, FUZZ_SECONDS (60) a target
fuzz:
	@$(PREPARE) && scripts/build.sh && exec scripts/fuzz.sh

## measure, for an hour; writes benches/runs/
bench: build
	@scripts/python.sh bench && for part in run process sandbox footprint pixels streams; do \
	    .venv/bin/python benches/$$part.py || exit 1; done

## call with Locust's users for LOAD_SECONDS; writes target/load.html
load: build
	@scripts/python.sh && exec .venv/bin/python benches/load_test.py --scenario $(SCENARIO) \
	    --users $(USERS) --seconds $(LOAD_SECONDS)

## mix good calls and bad ones for SOAK_MINUTES, and see that nothing is lost or grows
soak: build
	@scripts/python.sh && for process in shared own; do .venv/bin/python benches/soak.py \
	    --minutes $$(($(SOAK_MINUTES) / 2)) --process $$process || exit 1; done

## call for all of the server's memory for SOAK_MINUTES, beside good calls that must not notice
pressure: build
	@scripts/python.sh && exec .venv/bin/python benches/pressure.py --minutes $(SOAK_MINUTES)

## compare the classifier on the first GPU with the CPU
gpu-test:
	@test -e /dev/nvidia0 || exec scripts/gpu-test.sh
	@$(PREPARE) && scripts/python.sh && scripts/build.sh && exec scripts/gpu-test.sh

## format all code
fmt:
	cargo fmt --all
	cargo fmt --all --manifest-path models/Cargo.toml

## check formatting and lints, warnings denied
lint:
	@$(PREPARE) && scripts/python.sh && exec scripts/lint.sh

## build the container image
build_docker:
	docker build -t $(IMAGE) -f deploy/Dockerfile .

## build and run the container, serving on PORT of all interfaces
run_docker_server: build_docker
	docker run --rm --name model_server -p $(PORT):50000 $(IMAGE)

## remove the container where it still runs
remove_container:
	docker rm -f model_server

## remove what was built: components, the build folder, downloads
clean:
	rm -rf target .onnxruntime .venv models/*/model.wasm tests/guests/*/model.wasm \
	    tests/hostile/guest/model.wasm models/sentence_embedding/model.onnx
	find . -name __pycache__ -prune -exec rm -rf {} +
