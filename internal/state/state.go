// Package state is the protocol between a router and the cluster publisher: one ConfigMap per Canary, in which the router
// writes what it desires and the publisher answers with what it observed. Each owns one key and never writes the other's.
package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// Label marks the ConfigMap; its value is the name of the Canary.
	Label = "penstock.dev/canary"
	// DrainedAnnotation is set by an operator to a generation, and ends the drain of that generation.
	DrainedAnnotation = "penstock.dev/drained"
	// DesiredKey is the key of the router's side, a JSON object in the data of the ConfigMap.
	DesiredKey = "desired"
	// ObservedKey is the key of the publisher's side.
	ObservedKey = "observed"
)

// Name returns the name of the ConfigMap of a Canary.
func Name(canary string) string { return canary + "-penstock" }

// Mode says where the split between primary and canary is made.
type Mode string

const (
	// Shared splits behind one load balancer; DNS carries the exposure only.
	Shared Mode = "shared"
	// Split splits in DNS, between two load balancers.
	Split Mode = "split"
)

// Weights are route weights in percent, as Flagger sets them: they add up to 100.
type Weights struct {
	Primary int `json:"primary"`
	Canary  int `json:"canary"`
}

// Desired is what a router wants of DNS. It is persisted before anything is written to DNS.
type Desired struct {
	// Generation grows by one with every change of the other fields. The first says that nothing has been done in DNS yet.
	Generation int64 `json:"generation"`
	// Since is when the router wrote Generation, in whole seconds and UTC. It is for people and metrics; nothing is decided by it.
	Since time.Time `json:"since,omitzero"`
	Mode  Mode      `json:"mode"`
	// Ingress is the Canary's ingressRef and Service its apex Service: they name the hosts that the canary touches, which
	// are those of the Ingress' rules that route to the Service.
	Ingress string `json:"ingress"`
	Service string `json:"service"`
	// CanaryIngress is the prepared Ingress of split mode.
	CanaryIngress string `json:"canaryIngress,omitempty"`
	// Attached (split) says that the hosts are to point at the inner set; without it they point at the load balancer, and the
	// inner set goes once that is effective.
	Attached bool `json:"attached,omitempty"`
	// Weights (split) are those of the inner set.
	Weights Weights `json:"weights"`
	// Exposure (shared) is the per cent to which the cluster's weight is scaled, 1 to 100; 0 means 100.
	Exposure int `json:"exposure,omitempty"`
	// Effective is the pair that Flagger set last of those that have become effective. It is the router's memory; the
	// publisher does not read it.
	Effective Weights `json:"effective"`
}

// Same reports whether d and e want the same, whenever and as whichever generation it was written.
func (d Desired) Same(e Desired) bool {
	d.Generation, d.Since = e.Generation, e.Since
	return d == e
}

// Observed is what the cluster publisher has done about a Desired.
type Observed struct {
	// Generation is the Desired.Generation that this answers.
	Generation int64 `json:"generation"`
	// Ingress and Hosts tell whose records are as the Canary wants: those that are split, or have the Exposure. They are for when the Desired is lost.
	Ingress string   `json:"ingress,omitempty"`
	Hosts   []string `json:"hosts,omitempty"`
	// Exposure (shared) is the per cent to which the cluster's weight is scaled; absent, all of it.
	Exposure int `json:"exposure,omitempty"`
	// Attached says that the hosts point at the inner set, or still may for somebody: it turns false only when pointing away
	// is effective and the inner set is gone.
	Attached bool `json:"attached,omitempty"`
	// Plan is a hash of the records that the following is about: what is remembered of other records proves nothing.
	Plan string `json:"plan,omitempty"`
	// Change is the backend's name for the change that is being waited for, or that was last in sync.
	Change string `json:"change,omitempty"`
	// InSyncSince is when all authoritative servers were first known to answer with Change; absent while they do not.
	InSyncSince *time.Time `json:"inSyncSince,omitempty"`
	// TTLSeconds is the largest TTL under which an answer that Change replaces may have been served.
	TTLSeconds int64 `json:"ttlSeconds,omitempty"`
	// ServedTTLSeconds is the largest TTL of the answers of Plan, for when the answer to a change of it is lost.
	ServedTTLSeconds int64 `json:"servedTTLSeconds,omitempty"`
	// NotBefore is the EffectiveAt of earlier changes, for which this one must wait too.
	NotBefore *time.Time `json:"notBefore,omitempty"`
	// EffectiveAt is when no resolver that obeys the TTL can hold an answer from before Change: the latest of InSyncSince plus
	// TTLSeconds, of this change and of those before it. Absent while not in sync.
	EffectiveAt *time.Time `json:"effectiveAt,omitempty"`
	// Effective is true when Generation is completely done: in sync, and EffectiveAt has passed.
	Effective bool `json:"effective"`
	// Assumed is true when in sync was not seen but assumed after a configured time.
	Assumed bool `json:"assumed,omitempty"`
	// Pending says for people what is being waited for.
	Pending string `json:"pending,omitempty"`
	// Warning says for people what is not followed until the canary has ended, such as a load balancer of another kind, or what may be
	// wrong in DNS.
	Warning string `json:"warning,omitempty"`
	// Error says for people why Generation cannot be done as it is.
	Error string `json:"error,omitempty"`
}

// Done reports whether o answers exactly the generation of d, and effectively so.
func (o Observed) Done(d Desired) bool { return o.Generation == d.Generation && o.Effective }

// MalformedError says that a key of a ConfigMap does not hold what Penstock writes there.
type MalformedError struct {
	Namespace, Name string // of the ConfigMap
	Key             string // DesiredKey or ObservedKey
	Err             error
}

// Error names the ConfigMap, the key and the remedy.
func (e *MalformedError) Error() string {
	return fmt.Sprintf("configmap %s/%s: data.%s is not what Penstock writes (%v): delete the key, and it is written anew", e.Namespace, e.Name, e.Key, e.Err)
}

// Unwrap returns what is wrong with the text.
func (e *MalformedError) Unwrap() error { return e.Err }

// Read returns both sides of a ConfigMap. A missing key gives the zero value; a malformed one gives a [MalformedError] beside the
// side that could be read. It never returns weights that cannot be served: they are a whole split of 100 or, where DNS does not
// carry them, both zero.
func Read(cm *corev1.ConfigMap) (Desired, Observed, error) {
	d, errD := read(cm, DesiredKey, Desired.check)
	o, errO := read(cm, ObservedKey, Observed.check)
	return d, o, errors.Join(errD, errO)
}

func read[T Desired | Observed](cm *corev1.ConfigMap, key string, check func(T) error) (T, error) {
	var side, zero T
	text, ok := cm.Data[key]
	if !ok {
		return zero, nil
	}
	err := decode(text, &side)
	if err == nil {
		err = check(side)
	}
	if err != nil {
		return zero, &MalformedError{Namespace: cm.Namespace, Name: cm.Name, Key: key, Err: err}
	}
	return side, nil
}

// decode reads one JSON object and nothing behind it. Unknown fields are left to a newer version that wrote them.
func decode(text string, into any) error {
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("not a JSON object: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

func (d Desired) check() error {
	switch {
	case d.Mode != "" && d.Mode != Shared && d.Mode != Split:
		return fmt.Errorf("mode %q is neither %q nor %q", d.Mode, Shared, Split)
	case d.Generation < 0:
		return fmt.Errorf("generation %d is negative", d.Generation)
	case d.Exposure < 0 || d.Exposure > 100:
		return fmt.Errorf("exposure %d is not a percentage", d.Exposure)
	case !d.Weights.split() && (d.Attached || d.Weights != Weights{}):
		return fmt.Errorf("weights %d/%d do not add up to 100", d.Weights.Primary, d.Weights.Canary)
	case !d.Effective.split() && d.Effective != Weights{}:
		return fmt.Errorf("effective weights %d/%d do not add up to 100", d.Effective.Primary, d.Effective.Canary)
	}
	return nil
}

func (o Observed) check() error {
	switch {
	case o.Generation < 0:
		return fmt.Errorf("generation %d is negative", o.Generation)
	case o.Exposure < 0 || o.Exposure > 100:
		return fmt.Errorf("exposure %d is not a percentage", o.Exposure)
	case o.TTLSeconds < 0 || o.TTLSeconds > maxTTLSeconds:
		return fmt.Errorf("ttlSeconds %d is no TTL", o.TTLSeconds)
	case o.ServedTTLSeconds < 0 || o.ServedTTLSeconds > maxTTLSeconds:
		return fmt.Errorf("servedTTLSeconds %d is no TTL", o.ServedTTLSeconds)
	}
	return nil
}

// maxTTLSeconds is the largest TTL there is: https://www.rfc-editor.org/rfc/rfc2181#section-8
const maxTTLSeconds = 1<<31 - 1

// split tells whether w shares out exactly 100.
func (w Weights) split() bool {
	return w.Primary >= 0 && w.Canary >= 0 && w.Primary <= 100 && w.Primary+w.Canary == 100
}

// Encode returns a side, a Desired or an Observed, as the text of its key. Equal values give equal texts.
func Encode[T Desired | Observed](side T) (string, error) {
	text, err := json.Marshal(side)
	if err != nil {
		return "", fmt.Errorf("encode %T: %w", side, err)
	}
	return string(text), nil
}
