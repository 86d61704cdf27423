# Thin: each target is a script or one command. "make demo" and "make test" are
# the README's two commands.
.PHONY: demo build test test-upgrade race mutants soak fuzz packages test-packages bench bench-api bench-scale lint generate check-generated clean

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

mutants:
	@scripts/test -timeout 60m -run 'Mutants|TestRules|TestFollowed' ./internal/dataplane/difftest -difftest.mutants 1 -difftest.followed 1000000

# Controllers, etcd members and agents of a lab fail in pairs, under writes and traffic. After each pair, and at
# the end, the hosts' rows are compared with what all of the state comes to.
soak:
	@scripts/test -timeout 24h -run TestControllersAndEtcdMembers ./test/scenario -scenario.soak $(or $(DURATION),30m)

fuzz:
	@scripts/fuzz $(SECONDS_EACH)

packages:
	@scripts/make-packages

test-packages:
	@scripts/test-packages

bench:
	@scripts/bench "$(or $(ROUNDS),15)" $(OLDER)

bench-api:
	@scripts/bench-api "$(or $(ROUNDS),7)" $(OLDER)

bench-scale:
	@scripts/bench-scale $(ARGS)

lint:
	@scripts/lint

generate:
	@scripts/generate

check-generated:
	@scripts/check-generated

clean:
	rm -rf bin
