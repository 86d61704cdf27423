// Package stats has what the benchmarks say of their samples: medians, ratios, and
// intervals that assume nothing about how the figures are distributed.
package stats

import (
	"math"
	"slices"
)

// Median of a list; NaN of an empty one.
func Median(x []float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(x))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// Interval is the distribution-free 95 % confidence interval of the median: the
// order statistics of the sign test. With fewer than six values there is none;
// then it is the range, and exact is false.
func Interval(x []float64) (low, high float64, exact bool) {
	if len(x) == 0 {
		return math.NaN(), math.NaN(), false
	}
	s := slices.Sorted(slices.Values(x))
	n := len(s)
	// The largest k with P(Binomial(n, ½) < k) ≤ 2.5 %: then s[k-1] … s[n-k].
	k, tail, term := 0, 0.0, math.Pow(0.5, float64(n))
	for i := 0; i < n; i++ {
		if tail+term > 0.025 {
			break
		}
		tail += term
		term = term * float64(n-i) / float64(i+1)
		k = i + 1
	}
	if k == 0 {
		return s[0], s[n-1], false
	}
	return s[k-1], s[n-k], true
}

// Ratios divides two series round by round.
func Ratios(num, den []float64) []float64 {
	out := make([]float64, 0, min(len(num), len(den)))
	for i := range min(len(num), len(den)) {
		if den[i] > 0 {
			out = append(out, num[i]/den[i])
		}
	}
	return out
}
