package weights_test

import (
	"errors"
	"math/big"
	"testing"

	"github.com/penstock-dev/penstock/weights"
)

func parse(tb testing.TB, s string) weights.Percent {
	tb.Helper()
	p, err := weights.ParsePercent(s)
	if err != nil {
		tb.Fatalf("ParsePercent(%q): %v", s, err)
	}
	return p
}

func whole(tb testing.TB, n int) weights.Percent {
	tb.Helper()
	p, err := weights.WholePercent(n)
	if err != nil {
		tb.Fatalf("WholePercent(%d): %v", n, err)
	}
	return p
}

func TestParsePercent(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		want   string
		err    error
	}{
		"0":                          {reason: "The lowest weight.", want: "0"},
		"100":                        {reason: "The highest weight.", want: "100"},
		"18.75":                      {reason: "Fractions are exact.", want: "18.75"},
		"050":                        {reason: "Leading zeros were accepted before and change nothing.", want: "50"},
		"5.00":                       {reason: "Trailing zeros change nothing.", want: "5"},
		"0.000000000000001":          {reason: "The smallest step.", want: "0.000000000000001"},
		"0.0000000000000001":         {reason: "What cannot be held exactly is refused, not rounded.", err: weights.ErrSyntax},
		"100.01":                     {reason: "A share is at most the whole.", err: weights.ErrOutOfRange},
		"120":                        {reason: "A share is at most the whole.", err: weights.ErrOutOfRange},
		"99999999999999999999999999": {reason: "Too many digits for any integer.", err: weights.ErrOutOfRange},
		"":                           {reason: "An empty annotation is a mistake, not a zero.", err: weights.ErrSyntax},
		"NaN":                        {reason: "NaN compares false with every bound.", err: weights.ErrSyntax},
		"Inf":                        {reason: "Not a number of per cent.", err: weights.ErrSyntax},
		"+Inf":                       {reason: "Not a number of per cent.", err: weights.ErrSyntax},
		"infinity":                   {reason: "Not a number of per cent.", err: weights.ErrSyntax},
		"0x1p4":                      {reason: "Hexadecimal is no percentage.", err: weights.ErrSyntax},
		"1e2":                        {reason: "Nor is an exponent.", err: weights.ErrSyntax},
		"1_0":                        {reason: "Nor is Go's digit separator.", err: weights.ErrSyntax},
		"-1":                         {reason: "No sign.", err: weights.ErrSyntax},
		"-0":                         {reason: "No sign, not even here.", err: weights.ErrSyntax},
		"+5":                         {reason: "No sign.", err: weights.ErrSyntax},
		" 5":                         {reason: "No spaces.", err: weights.ErrSyntax},
		"5 ":                         {reason: "No spaces.", err: weights.ErrSyntax},
		"5%":                         {reason: "The unit is understood.", err: weights.ErrSyntax},
		"101 %":                      {reason: "Wrong twice.", err: weights.ErrSyntax},
		"A":                          {reason: "Letters.", err: weights.ErrSyntax},
		".5":                         {reason: "Digits on both sides of the point.", err: weights.ErrSyntax},
		"5.":                         {reason: "Digits on both sides of the point.", err: weights.ErrSyntax},
		"1.2.3":                      {reason: "One point.", err: weights.ErrSyntax},
		"\u0661":                     {reason: "Digits of other scripts are not digits here.", err: weights.ErrSyntax},
		"18,75":                      {reason: "A comma is no point.", err: weights.ErrSyntax},
		"1\u00a000":                  {reason: "No spaces of any kind.", err: weights.ErrSyntax},
	}
	for in, tc := range cases {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			got, err := weights.ParsePercent(in)
			if !errors.Is(err, tc.err) {
				t.Fatalf("%s\nParsePercent(%q) error %v, want %v", tc.reason, in, err, tc.err)
			}
			if err == nil && got.String() != tc.want {
				t.Errorf("%s\nParsePercent(%q) = %s, want %s", tc.reason, in, got, tc.want)
			}
		})
	}
}

func TestWholePercent(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, 101, 1 << 40} {
		if _, err := weights.WholePercent(n); !errors.Is(err, weights.ErrOutOfRange) {
			t.Errorf("WholePercent(%d) error %v, want %v", n, err, weights.ErrOutOfRange)
		}
	}
	if whole(t, 100) != weights.Hundred {
		t.Errorf("WholePercent(100) = %v, want Hundred", whole(t, 100))
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	low, same, high := parse(t, "18.75"), parse(t, "18.750"), parse(t, "18.750000000000001")
	if low.Compare(high) != -1 || high.Compare(low) != 1 || low.Compare(same) != 0 {
		t.Error("Compare does not order 18.75 and 18.750000000000001")
	}
	if !parse(t, "0.0").IsZero() || low.IsZero() {
		t.Error("IsZero is wrong")
	}
}

// The truth table that the predecessor's users know: annotation, cluster weight, record weight.
func TestRecordLegacyTable(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		annotation, cluster string
		want                int
	}{
		{"1", "1", 1},
		{"0", "1", 0},
		{"50", "50", 25},
		{"10", "50", 5},
		{"100", "50", 50},
		{"100", "100", 100},
		{"100", "0", 0},
		{"25", "75", 19},
		{"75", "25", 19},
		{"25", "50", 13},
		{"75", "50", 38},
		{"50", "10", 5},
		{"50", "90", 45},
		{"12.5", "100", 13},
		{"18.75", "100", 19},
		{"0.0001", "100", 1},
		{"050", "100", 50},
	} {
		if got := weights.Record(parse(t, tc.cluster), parse(t, tc.annotation), 100); got != tc.want {
			t.Errorf("Record(cluster %s, ingress %s) = %d, want %d", tc.cluster, tc.annotation, got, tc.want)
		}
	}
}

// Pairs that come out one too high when the product is taken in floating point.
func TestRecordWhereFloatsAreWrong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ cluster, ingress, want int }{
		{7, 100, 7},
		{14, 50, 7},
		{14, 100, 14},
		{28, 25, 7},
		{28, 50, 14},
		{28, 75, 21},
		{28, 100, 28},
		{55, 100, 55},
		{56, 25, 14},
		{56, 50, 28},
		{56, 75, 42},
		{56, 100, 56},
		{68, 75, 51},
	} {
		if got := weights.Record(whole(t, tc.cluster), whole(t, tc.ingress), 100); got != tc.want {
			t.Errorf("Record(%d, %d) = %d, want %d", tc.cluster, tc.ingress, got, tc.want)
		}
	}
}

// Every pair of whole percentages, against integers.
func TestRecordAllPairs(t *testing.T) {
	t.Parallel()
	for c := range 101 {
		for i := range 101 {
			for _, e := range []int{0, 1, 20, 99, 100} {
				want := (c*i*e + 9999) / 10000
				if got := weights.Record(whole(t, c), whole(t, i), e); got != want {
					t.Fatalf("Record(%d, %d, %d) = %d, want %d", c, i, e, got, want)
				}
			}
		}
	}
}

func TestRecordClampsExposure(t *testing.T) {
	t.Parallel()
	if got := weights.Record(weights.Hundred, weights.Hundred, 250); got != 100 {
		t.Errorf("exposure above 100 gives %d, want 100", got)
	}
	if got := weights.Record(weights.Hundred, weights.Hundred, -5); got != 0 {
		t.Errorf("exposure below 0 gives %d, want 0", got)
	}
}

func TestExposure(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason                   string
		floor, canary, first, mx int
		want                     int
	}{
		{"The canary takes nothing: all of the cluster's weight.", 20, 0, 10, 50, 100},
		{"The first step starts at the floor.", 20, 10, 10, 50, 20},
		{"Half way is half way.", 20, 30, 10, 50, 60},
		{"The last step is all.", 20, 50, 10, 50, 100},
		{"Beyond the last step stays all.", 20, 80, 10, 50, 100},
		{"Below the first step stays at the floor.", 20, 5, 10, 50, 20},
		{"Rounded up to whole per cent.", 20, 11, 10, 40, 23},
		{"One step only: nothing to scale.", 20, 50, 50, 50, 100},
		{"First beyond the maximum: nothing to scale.", 20, 50, 60, 50, 100},
	} {
		if got := weights.Exposure(tc.floor, tc.canary, tc.first, tc.mx); got != tc.want {
			t.Errorf("%s\nExposure(%d, %d, %d, %d) = %d, want %d", tc.reason, tc.floor, tc.canary, tc.first, tc.mx, got, tc.want)
		}
	}
}

func FuzzParsePercent(f *testing.F) {
	for _, s := range []string{"0", "100", "18.75", "050", "1e2", "NaN", "-1", "101 %", "", "0x1p4", "0.000000000000001", "99.999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := weights.ParsePercent(s)
		if err != nil {
			return
		}
		back, err := weights.ParsePercent(p.String())
		if err != nil || back != p {
			t.Errorf("%q became %v, then %v (err %v)", s, p, back, err)
		}
		exact, ok := new(big.Rat).SetString(s)
		if printed, _ := new(big.Rat).SetString(p.String()); !ok || exact.Cmp(printed) != 0 {
			t.Errorf("%q is read as %v", s, p)
		}
		if p.Compare(weights.Hundred) > 0 {
			t.Errorf("%q is %v, above 100", s, p)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add("7", "100", "8", 100)
	f.Add("0.000000000000001", "0.000000000000001", "100", 1)
	f.Add("99.999999999999999", "99.999999999999999", "100", 100)
	f.Fuzz(func(t *testing.T, a, b, c string, e int) {
		cluster, err1 := weights.ParsePercent(a)
		ingress, err2 := weights.ParsePercent(b)
		other, err3 := weights.ParsePercent(c)
		if err1 != nil || err2 != nil || err3 != nil || e < 0 || e > 100 {
			return
		}
		got := weights.Record(cluster, ingress, e)

		exact := new(big.Rat)
		exact.SetString(cluster.String())
		for _, factor := range []string{ingress.String(), new(big.Rat).SetInt64(int64(e)).RatString()} {
			r, _ := new(big.Rat).SetString(factor)
			exact.Mul(exact, r.Quo(r, big.NewRat(100, 1)))
		}
		want := new(big.Int).Div(new(big.Int).Sub(new(big.Int).Add(exact.Num(), exact.Denom()), big.NewInt(1)), exact.Denom())
		if int64(got) != want.Int64() {
			t.Errorf("Record(%s, %s, %d) = %d, want ceil(%s) = %s", cluster, ingress, e, got, exact.RatString(), want)
		}
		if got < 0 || got > weights.Scale {
			t.Errorf("Record(%s, %s, %d) = %d, off the scale", cluster, ingress, e, got)
		}
		if zero := cluster.IsZero() || ingress.IsZero() || e == 0; zero != (got == 0) {
			t.Errorf("Record(%s, %s, %d) = %d: zero only from zero", cluster, ingress, e, got)
		}
		if ingress.Compare(other) <= 0 && got > weights.Record(cluster, other, e) {
			t.Errorf("Record falls from %d while the Ingress' weight rises from %s to %s", got, ingress, other)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	cluster, ingress := parse(b, "33.3"), parse(b, "18.75")
	b.ReportAllocs()
	for b.Loop() {
		weights.Record(cluster, ingress, 60)
	}
}

func BenchmarkParsePercent(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := weights.ParsePercent("18.75"); err != nil {
			b.Fatal(err)
		}
	}
}

// The planning of thousands of hosts calls these for each: they must not allocate.
//
//nolint:paralleltest // AllocsPerRun counts the allocations of the whole process
func TestNoAllocations(t *testing.T) {
	cluster, ingress := parse(t, "33.3"), parse(t, "18.75")
	if n := testing.AllocsPerRun(100, func() {
		weights.Record(cluster, ingress, 60)
		_, _ = weights.ParsePercent("18.75")
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
