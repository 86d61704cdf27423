# Thin: each target is a script or one command. "make demo" and "make test" are
# the README's two commands.
.PHONY: demo build test test-upgrade race fuzz bench bench-api lint generate check-generated clean

# What "make demo" passes to the demo, for example make demo ARGS=--hold.
ARGS =

demo:
	@scripts/demo $(ARGS)

build:
	@scripts/build

test:
	@scripts/test

test-upgrade:
	@scripts/test-upgrade $(OLDER)

race:
	@scripts/race

fuzz:
	@scripts/fuzz $(SECONDS_EACH)

bench:
	@scripts/bench "$(or $(ROUNDS),15)" $(OLDER)

bench-api:
	@scripts/bench-api $(ROUNDS)

lint:
	@scripts/lint

generate:
	@scripts/generate

check-generated:
	@scripts/check-generated

clean:
	rm -rf bin
