package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		x    []float64
		want float64
	}{
		{[]float64{3, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{7}, 7},
	} {
		if got := Median(c.x); got != c.want {
			t.Errorf("Median(%v) = %v, want %v", c.x, got, c.want)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

func TestInterval(t *testing.T) {
	// From tables of the sign test: with 15 values the 4th and the 12th, with 6
	// the extremes, with 5 none.
	x := make([]float64, 15)
	for i := range x {
		x[i] = float64(i + 1)
	}
	if low, high, exact := Interval(x); low != 4 || high != 12 || !exact {
		t.Errorf("15 values: %v…%v %v, want 4…12", low, high, exact)
	}
	if low, high, exact := Interval(x[:6]); low != 1 || high != 6 || !exact {
		t.Errorf("6 values: %v…%v %v, want 1…6", low, high, exact)
	}
	if _, _, exact := Interval(x[:5]); exact {
		t.Error("5 values gave an exact interval")
	}
}

// TestIntervalCovers draws samples whose median is known: at least 95 % of the
// intervals must hold it, and not nearly all.
func TestIntervalCovers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const trials = 20000
	covered := 0
	for range trials {
		x := make([]float64, 15)
		for i := range x {
			x[i] = r.ExpFloat64()
		}
		if low, high, _ := Interval(x); low <= math.Ln2 && math.Ln2 <= high {
			covered++
		}
	}
	if share := float64(covered) / trials; share < 0.95 || share > 0.975 {
		t.Errorf("%.3f of the intervals hold the median, want 0.95 to 0.975", share)
	}
}

func TestRatios(t *testing.T) {
	if got := Ratios([]float64{2, 9, 5}, []float64{1, 3}); !slices.Equal(got, []float64{2, 3}) {
		t.Errorf("ratios = %v", got)
	}
}
