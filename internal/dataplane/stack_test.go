package dataplane

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// TestStack: the functions that are in each other use half of the stack that the verifier
// grants, so that the rest is there for what comes. Each one's counts as a multiple of 32
// bytes, as older verifiers have it (check_max_stack_depth in kernel/bpf/verifier.c); those
// since Linux 6.9 round up to 16.
func TestStack(t *testing.T) {
	const most, round = 512 / 2, 32
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range spec.Programs {
		depth, calls := stackOf(p)
		var deepest func(f string, path []string) (int, []string)
		deepest = func(f string, path []string) (int, []string) {
			if len(path) > 8 {
				t.Fatalf("%s: a chain of calls without end: %v", p.Name, path)
			}
			own := (max(depth[f], 1) + round - 1) / round * round
			path = append(path, f)
			worst, way := 0, path
			for g := range calls[f] {
				if d, w := deepest(g, append([]string(nil), path...)); d > worst {
					worst, way = d, w
				}
			}
			return own + worst, way
		}
		d, way := deepest(p.Name, nil)
		t.Logf("%s: %d bytes, by %s", p.Name, d, strings.Join(way, ", "))
		if d > most {
			t.Errorf("%s uses %d bytes of stack by %s, want %d at most", p.Name, d, strings.Join(way, ", "), most)
		}
		if p.Type == ebpf.SchedCLS && len(calls[p.Name]) == 0 || depth[p.Name] == 0 {
			t.Errorf("%s: no calls or no stack were found: the test looks at the wrong thing", p.Name)
		}
	}
}

// stackOf is how far down each function of a program writes on its stack, and whom it calls.
func stackOf(p *ebpf.ProgramSpec) (depth map[string]int, calls map[string]map[string]bool) {
	depth, calls = map[string]int{}, map[string]map[string]bool{}
	const loop = 3 * 8 // what the kernel keeps on the stack of who calls bpf_loop (optimize_bpf_loop)
	var f string
	loops := map[string]bool{}
	fp := map[asm.Register]int{} // registers that point into the frame
	for _, ins := range p.Instructions {
		if s := ins.Symbol(); s != "" {
			f, calls[s] = s, map[string]bool{}
			clear(fp)
		}
		class := ins.OpCode.Class()
		switch {
		case ins.IsBuiltinCall():
			loops[f] = loops[f] || ins.Constant == int64(asm.FnLoop)
		case ins.IsFunctionCall() || ins.IsFunctionReference() || ins.IsLoadOfFunctionPointer():
			calls[f][ins.Reference()] = true
		case class.IsStore() && ins.Dst == asm.R10, class.IsLoad() && ins.Src == asm.R10:
			depth[f] = max(depth[f], -int(ins.Offset))
		case class.IsALU() && ins.OpCode.ALUOp() == asm.Mov && ins.OpCode.Source() == asm.RegSource && ins.Src == asm.R10:
			fp[ins.Dst] = 0
		case class.IsALU() && ins.OpCode.ALUOp() == asm.Add && ins.OpCode.Source() == asm.ImmSource:
			if _, ok := fp[ins.Dst]; ok {
				depth[f] = max(depth[f], -int(ins.Constant))
				delete(fp, ins.Dst)
			}
		}
	}
	for f := range loops {
		if loops[f] {
			depth[f] += loop
		}
	}
	return depth, calls
}
