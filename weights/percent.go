package weights

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

var (
	// ErrSyntax says that a text is not a plain decimal number.
	ErrSyntax = errors.New("not a decimal number")
	// ErrOutOfRange says that a number is no weight that may be written.
	ErrOutOfRange = errors.New("weight out of range")
)

// Decimals is how many digits after the point a Percent can hold.
const Decimals = 15

// unit is one per cent in the integers that a Percent counts.
const unit = 1_000_000_000_000_000 // 10^Decimals

// Percent is an exact decimal percentage, 0 to 100 with at most [Decimals] digits after the point. The zero value is 0 %.
// Percents are comparable with ==.
type Percent struct {
	n uint64 // in 10^-Decimals per cent, 0..100*unit
}

// Hundred is 100 %.
var Hundred = Percent{100 * unit}

// ParsePercent reads a percentage as a person writes it in an annotation: digits, and at most one point with digits on
// both sides. Anything else (a sign, an exponent, hexadecimal, NaN, spaces, "%") is ErrSyntax; more than 100 is ErrOutOfRange.
func ParsePercent(s string) (Percent, error) {
	whole, fraction, point := strings.Cut(s, ".")
	if !digits(whole) || (point && !digits(fraction)) {
		return Percent{}, fmt.Errorf("%q: %w: write a percentage from 0 to 100 such as 18.75", s, ErrSyntax)
	}
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > Decimals {
		return Percent{}, fmt.Errorf("%q: %w: at most %d digits after the point", s, ErrSyntax, Decimals)
	}
	whole = strings.TrimLeft(whole, "0")
	if len(whole) > len("100") {
		return Percent{}, fmt.Errorf("%q: %w: a percentage is from 0 to 100", s, ErrOutOfRange)
	}
	var n uint64
	for _, c := range []byte(whole) {
		n = n*10 + uint64(c-'0')
	}
	for i := range Decimals {
		n *= 10
		if i < len(fraction) {
			n += uint64(fraction[i] - '0')
		}
	}
	if n > Hundred.n {
		return Percent{}, fmt.Errorf("%q: %w: a percentage is from 0 to 100", s, ErrOutOfRange)
	}
	return Percent{n}, nil
}

func digits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// WholePercent returns n per cent. It returns ErrOutOfRange unless n is from 0 to 100.
func WholePercent(n int) (Percent, error) {
	if n < 0 || n > 100 {
		return Percent{}, fmt.Errorf("%d: %w: a percentage is from 0 to 100", n, ErrOutOfRange)
	}
	return Percent{uint64(n) * unit}, nil
}

// IsZero tells whether p is 0 %.
func (p Percent) IsZero() bool { return p.n == 0 }

// Compare returns -1, 0 or 1 as p is less than, equal to or more than q.
func (p Percent) Compare(q Percent) int {
	switch {
	case p.n < q.n:
		return -1
	case p.n > q.n:
		return 1
	default:
		return 0
	}
}

// String returns p without needless zeros, in the form that ParsePercent reads.
func (p Percent) String() string {
	whole := strconv.FormatUint(p.n/unit, 10)
	fraction := p.n % unit
	if fraction == 0 {
		return whole
	}
	return whole + "." + strings.TrimRight(fmt.Sprintf("%0*d", Decimals, fraction), "0")
}

// Scale is the record weight of a host that gets all of what its cluster can get. Route 53 allows 255, but weights are
// relative, and on a scale of 100 the numbers in DNS are the percentages that people set.
const Scale = 100

// Record returns the record weight of a host, 0 to [Scale]: the cluster's weight, times the Ingress' weight, times the
// exposure in whole per cent (0 to 100; what is outside counts as the nearest end), rounded up, so that what is not zero never becomes zero.
func Record(cluster, ingress Percent, exposure int) int {
	exposure = min(max(exposure, 0), 100)
	// cluster * ingress * exposure is at most 10^17 * 10^17 * 10^2, within 128 bits.
	hi, lo := bits.Mul64(cluster.n, ingress.n)
	overflow, lo := bits.Mul64(lo, uint64(exposure))
	hi = hi*uint64(exposure) + overflow
	// One step of the scale is 1 % of cluster (10^15) x 100 % of ingress (10^17) x exposure 100.
	q, r := div128(hi, lo, 100*unit, 100*unit)
	if r {
		q++
	}
	return int(q)
}

// div128 returns hi:lo / (a*b), and whether a remainder is left.
func div128(hi, lo, a, b uint64) (quotient uint64, remainder bool) {
	qhi, r := hi/a, hi%a
	qlo, r1 := bits.Div64(r, lo, a)
	q, r2 := bits.Div64(qhi%b, qlo, b)
	return q, r1 != 0 || r2 != 0
}

// Exposure returns the whole per cent to which a cluster's weight is scaled while a canary takes canary per cent of the
// cluster's traffic: floor at the first step, 100 at maxWeight, on a straight line in between, rounded up. It is 100 when the
// canary takes nothing, and when there is no way to go (first >= maxWeight).
func Exposure(floor, canary, first, maxWeight int) int {
	if canary <= 0 || first >= maxWeight {
		return 100
	}
	floor = min(max(floor, 0), 100)
	way := maxWeight - first
	rise := (100 - floor) * max(canary-first, 0)
	return min(floor+(rise+way-1)/way, 100)
}

// ParseAtMost100 is ParsePercent for weights where more than 100 has always meant 100.
func ParseAtMost100(s string) (Percent, error) {
	p, err := ParsePercent(s)
	if errors.Is(err, ErrOutOfRange) {
		return Hundred, nil
	}
	return p, err
}
