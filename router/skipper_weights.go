package router

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"strings"
)

// routes is what Flagger sets and asks for: route weights in percent that add up to 100, and whether requests are mirrored.
type routes struct {
	primary, canary int
	mirrored        bool
}

// toPrimary is how every Canary begins and ends.
var toPrimary = routes{primary: 100}

// drained tells whether the canary gets no requests at all.
func (r routes) drained() bool { return r.canary == 0 && !r.mirrored }

// backendWeights are the exact decimals of the annotation zalando.org/backend-weights, by Service. They are ratios of the
// Services that share a path.
type backendWeights map[string]*big.Rat

var errBackendWeights = errors.New(`not a JSON object of non-negative weights by Service, such as {"app":80,"other":20}`)

// The text of one weight is bounded, and its exponent to 9: more than a float64 tells apart is of no use, and shares of what the
// user wrote must be readable again.
const (
	userDigits = 16
	ourDigits  = 32
)

// parseBackendWeights reads the annotation. Skipper counts a string as 0, splits equally on invalid JSON and routes nothing
// sensible on negative numbers, so all these are errors.
func parseBackendWeights(text string, digits int) (backendWeights, error) {
	var raw map[string]json.Number
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := rejectStrings(text); err != nil {
		return nil, err
	}
	if err := dec.Decode(&raw); err != nil || raw == nil {
		return nil, fmt.Errorf("%q: %w", text, errBackendWeights)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%q: %w", text, errBackendWeights)
	}
	weights := make(backendWeights, len(raw))
	for service, number := range raw {
		w, ok := parseDecimal(number.String(), digits)
		if !ok {
			return nil, fmt.Errorf("%q: the weight of %q is %q: %w", text, service, number, errBackendWeights)
		}
		weights[service] = w
	}
	return weights, nil
}

// rejectStrings refuses what encoding/json would take for a json.Number, but Skipper for 0: a quoted number, and null.
func rejectStrings(text string) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return fmt.Errorf("%q: %w", text, errBackendWeights)
	}
	for service, value := range raw {
		if len(value) == 0 || value[0] < '0' || value[0] > '9' {
			return fmt.Errorf("%q: the weight of %q is %s: %w", text, service, value, errBackendWeights)
		}
	}
	return nil
}

// parseDecimal reads a JSON number of bounded length that is not negative.
func parseDecimal(text string, digits int) (*big.Rat, bool) {
	if len(text) > digits || strings.HasPrefix(text, "-") {
		return nil, false
	}
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	if len(strings.TrimLeft(exponent, "+-0")) > 1 { // at most 9 places to either side
		return nil, false
	}
	if mantissa == "" {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

// String writes the weights as Flagger's router and Skipper read them: one JSON object, sorted by Service.
func (w backendWeights) String() string {
	numbers := make(map[string]json.Number, len(w))
	for service, weight := range w {
		numbers[service] = json.Number(decimal(weight))
	}
	text, err := json.Marshal(numbers)
	if err != nil { // cannot be: decimals are numbers
		return err.Error()
	}
	return string(text)
}

// decimal writes a number exactly. All weights here are decimals with a finite number of places: sums and products of such,
// and hundredths of them.
func decimal(r *big.Rat) string {
	places, _ := r.FloatPrec()
	return r.FloatString(places)
}

// Both are never written to.
var (
	one     = big.NewRat(1, 1)
	hundred = big.NewRat(100, 1)
)

// share returns w x percent / 100.
func share(w *big.Rat, percent int) *big.Rat {
	return new(big.Rat).Mul(w, big.NewRat(int64(percent), 100))
}

// split returns the weights of the canary Ingress: those of all other Services as on the apex Ingress, and app's share given
// to primary and canary in the ratio of r. alone means that no other Service shares a path with app, so that the two may have
// the whole numbers of r, which Flagger's router reads too.
func (w backendWeights) split(names services, alone bool, r routes) backendWeights {
	out := make(backendWeights, len(w)+2)
	maps.Copy(out, w)
	app := hundred
	if !alone {
		app = w[names.apex]
	}
	delete(out, names.apex)
	out[names.primary] = share(app, r.primary)
	out[names.canary] = share(app, r.canary)
	return out
}

// routes is the inverse of split: the percentages of primary and canary among themselves. A ratio that is not in whole per
// cent was written by somebody else; it is rounded, but never to 0 or 100.
func (w backendWeights) routes(names services) (routes, error) {
	primary, canary := w[names.primary], w[names.canary]
	if primary == nil || canary == nil {
		return routes{}, fmt.Errorf("%s: no weight for Service %q or %q: delete the Ingress, and it is made anew", w, names.primary, names.canary)
	}
	total := new(big.Rat).Add(primary, canary)
	if total.Sign() == 0 {
		return routes{}, fmt.Errorf("%s: %q and %q both have weight 0, which Skipper splits equally: delete the Ingress, and it is made anew",
			w, names.primary, names.canary)
	}
	percent := new(big.Rat).Quo(share(canary, 100*100), total)
	percent.Add(percent, big.NewRat(1, 2))
	n := int(new(big.Int).Quo(percent.Num(), percent.Denom()).Int64())
	if canary.Sign() > 0 {
		n = max(n, 1)
	}
	if primary.Sign() > 0 {
		n = min(n, 99)
	}
	return routes{primary: 100 - n, canary: n}, nil
}

// services are the names that Flagger gives the Services of a Canary.
type services struct{ apex, primary, canary string }
