package store

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The attributes of a row: those of the DynamoDB table, and the keys of the ConfigMap's data.
const (
	clusterName   = "ClusterName"
	desiredWeight = "DesiredWeight"
	currentWeight = "CurrentWeight"
	healthCheckID = "HealthCheckID"
	rampPhase     = "RampPhase"
	rampFrom      = "RampFrom"
	rampTo        = "RampTo"
	rampWeight    = "RampWeight"
	rampFailures  = "RampFailures"
	rampSince     = "RampSince"
	rampMessage   = "RampMessage"
)

// rampNames returns the attributes that only a row with a move has: all of them, or none.
func rampNames() []string {
	return []string{rampPhase, rampFrom, rampTo, rampWeight, rampFailures, rampSince, rampMessage}
}

// guardedNames returns the attributes that have to be as they were read for an acknowledgement.
func guardedNames() []string { return append([]string{desiredWeight, currentWeight}, rampNames()...) }

// punctuation is what people put between the words of a name.
var punctuation = regexp.MustCompile(`[^A-Za-z0-9]`)

// number reports whether an attribute is a whole number; the others are text.
func number(name string) bool {
	switch name {
	case desiredWeight, currentWeight, rampFrom, rampTo, rampWeight, rampFailures:
		return true
	}
	return false
}

// remedy says what people can do about an attribute that is wrong.
func remedy(name string) string {
	switch name {
	case desiredWeight:
		return "write a whole number from 0 to 100"
	case currentWeight:
		return "write the weight that is served, a whole number"
	case healthCheckID:
		return "write the id of a Route 53 health check, or remove it"
	}
	return "correct it, or remove all attributes whose names begin with Ramp, as if there had been no move"
}

// invalid returns an ErrInvalid about an attribute.
func invalid(name, problem string) error {
	return fmt.Errorf("%w: %s %s: %s", ErrInvalid, name, problem, remedy(name))
}

// misspelled returns ErrInvalid about the first of names, in order, that is DesiredWeight but for its case and punctuation: whoever writes desired-weight
// waits for an effect.
func misspelled(names iter.Seq[string]) error {
	for _, name := range slices.Sorted(names) {
		if name != desiredWeight && strings.EqualFold(punctuation.ReplaceAllString(name, ""), desiredWeight) {
			return fmt.Errorf("%w: %s is no attribute: write %s, or remove it", ErrInvalid, name, desiredWeight)
		}
	}
	return nil
}

// attributes returns a row as text, by attribute. CurrentWeight is left out when it is Unknown, HealthCheckID when it is empty, and the Ramp when it is the
// zero value.
func attributes(row Row) map[string]string {
	text := map[string]string{
		clusterName:   row.ClusterName,
		desiredWeight: strconv.Itoa(row.DesiredWeight),
	}
	if row.CurrentWeight != Unknown {
		text[currentWeight] = strconv.Itoa(row.CurrentWeight)
	}
	if row.HealthCheckID != "" {
		text[healthCheckID] = row.HealthCheckID
	}
	r := row.Ramp
	if r.Since.IsZero() && r == (Ramp{Since: r.Since}) {
		return text
	}
	text[rampPhase] = string(r.Phase)
	text[rampFrom] = strconv.Itoa(r.From)
	text[rampTo] = strconv.Itoa(r.To)
	text[rampWeight] = strconv.Itoa(r.Weight)
	text[rampFailures] = strconv.Itoa(r.Failures)
	text[rampSince] = r.Since.UTC().Format(time.RFC3339Nano)
	text[rampMessage] = strings.ToValidUTF8(r.Message, "\uFFFD") // both stores hold UTF-8 only
	return text
}

// parse returns the row of a cluster, or ErrInvalid with the first attribute that is wrong. Space around values is ignored, because editors
// add line ends. CurrentWeight may be missing, as in a row that people have made; DesiredWeight may not, because 0 would drain the cluster.
func parse(cluster string, text map[string]string) (Row, error) {
	p := parser{text: text}
	row := Row{
		ClusterName:   cluster,
		DesiredWeight: p.number(desiredWeight),
		CurrentWeight: Unknown,
		HealthCheckID: strings.TrimSpace(text[healthCheckID]),
	}
	if _, ok := text[currentWeight]; ok {
		row.CurrentWeight = p.number(currentWeight)
	}
	for _, name := range rampNames() {
		if _, ok := text[name]; ok {
			row.Ramp = p.ramp()
			break
		}
	}
	if p.err != nil {
		return Row{}, p.err
	}
	return row, nil
}

// parser keeps the first error.
type parser struct {
	text map[string]string
	err  error
}

func (p *parser) fail(name, problem string) {
	if p.err == nil {
		p.err = invalid(name, problem)
	}
}

func (p *parser) value(name string) (string, bool) {
	value, ok := p.text[name]
	if !ok {
		p.fail(name, "is missing")
	}
	return strings.TrimSpace(value), ok
}

func (p *parser) number(name string) int {
	value, ok := p.value(name)
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(value)
	if err == nil && n >= 0 {
		return n
	}
	problem := "is not a number"
	f, floatErr := strconv.ParseFloat(value, 64)
	switch {
	case floatErr == nil && f < 0:
		problem = "is negative"
	case errors.Is(err, strconv.ErrRange), floatErr == nil && math.Abs(f) >= math.MaxInt:
		problem = "is too large"
	case floatErr == nil && f > math.Trunc(f):
		problem = "is fractional"
	case floatErr == nil && !math.IsNaN(f):
		problem = "is not written with digits only"
	}
	p.fail(name, fmt.Sprintf("is %q, which %s", value, problem))
	return 0
}

// ramp parses a move. Nothing of it is guessed, since a RampWeight of 0 would drain the cluster; without a message there is nothing to say.
func (p *parser) ramp() Ramp {
	phase, ok := p.value(rampPhase)
	switch Phase(phase) {
	case Moving, Holding, Arrived, RolledBack:
	default:
		if ok {
			p.fail(rampPhase, fmt.Sprintf("is %q, which is none of %s, %s, %s and %s", phase, Moving, Holding, Arrived, RolledBack))
		}
	}
	r := Ramp{
		Phase: Phase(phase), From: p.number(rampFrom), To: p.number(rampTo), Weight: p.number(rampWeight), Failures: p.number(rampFailures),
		Message: p.text[rampMessage],
	}
	if since, ok := p.value(rampSince); ok {
		at, err := time.Parse(time.RFC3339Nano, since)
		if err != nil {
			p.fail(rampSince, fmt.Sprintf("is %q, which is not a time like 2006-01-02T15:04:05Z", since))
		}
		r.Since = at.UTC()
	}
	return r
}

// writable returns ErrInvalid for a row that could not be read back.
func writable(row Row) error {
	_, err := parse(row.ClusterName, attributes(row))
	return err
}

// conflict returns ErrConflict, with the first difference, if a row is not as it was read in what guards an acknowledgement.
func conflict(read, now Row) error {
	before, after := attributes(read), attributes(now)
	for _, name := range guardedNames() {
		if before[name] != after[name] {
			return fmt.Errorf("%w: %s is %q and was %q", ErrConflict, name, after[name], before[name])
		}
	}
	return nil
}

// newRow checks the row that a Store of a cluster is asked to create.
func newRow(cluster string, row Row) (Row, error) {
	if row.ClusterName != "" && row.ClusterName != cluster {
		return Row{}, fmt.Errorf("%w: the row of cluster %q in the store of cluster %q", ErrInvalid, row.ClusterName, cluster)
	}
	row.ClusterName = cluster
	return row, writable(row)
}

// named returns ErrInvalid if a name is empty; pairs are what is named, and the name. An empty cluster name would be shared by all clusters that forget
// theirs.
func named(pairs ...[2]string) error {
	for _, pair := range pairs {
		if strings.TrimSpace(pair[1]) == "" {
			return fmt.Errorf("%w: the %s is empty", ErrInvalid, pair[0])
		}
	}
	return nil
}
