// Package director runs the demo: two clusters with a canary in each, Route 53 above them, and users all the time. It says what is
// intended, lets Flagger's steps happen, and waits until they are effective before shares are judged.
package director

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Mode is where the dns-weighted router splits between primary and canary.
type Mode string

// The modes of the dns-weighted router.
const (
	// Shared splits behind the cluster's one load balancer, by Skipper, and moves the cluster's weight by exposure.
	Shared Mode = "shared"
	// Split splits in DNS, between two load balancers of the cluster.
	Split Mode = "split"
)

// The demo runs everything faster than it is in production, where these are Skipper's 3 s, Route 53's minute and a TTL of 60 s or more.
const (
	// Poll is how often Skipper reads the API, Settle how long the router gives it.
	Poll   = 250 * time.Millisecond
	Settle = 4 * Poll
	// SyncDelay is how long a change of Route 53 is PENDING.
	SyncDelay = time.Second / 2
	// TTL is that of all records.
	TTL = time.Second
)

// clusterNames are the clusters of the demo, in the order in which their canaries start.
var clusterNames = []string{"east", "west"}

// Options are the choices about a run.
type Options struct {
	// Fail makes the new version answer every fourth request with an error, so that Flagger rolls it back.
	Fail bool
	Mode Mode
	// Exposure is the annotation penstock.dev/cluster-exposure: the per cent of its weight with which a cluster takes part at the first
	// step of its canary; 100 is no exposure at all. Shared mode only.
	Exposure int
	// Weights are the cluster weights in per cent, Reweight those after a change in mid-canary; empty means no change.
	Weights, Reweight []int
	// Steps are the weights of the canary's steps in per cent, ascending.
	Steps []int
	// Seed makes Route 53's choices and the users' pauses the same on each run.
	Seed uint64
	// Users is how many users there are, Measure how long each stage is measured once it is effective.
	Users   int
	Measure time.Duration
}

// Validate returns an error that names what is wrong with the options, and the flag that sets it.
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Mode != Shared && o.Mode != Split {
		bad("-mode %q: it is %q or %q", o.Mode, Shared, Split)
	}
	if o.Exposure < 1 || o.Exposure > 100 {
		bad("-exposure %d: it is from 1 to 100 per cent", o.Exposure)
	}
	if o.Mode == Split && o.Exposure != 100 {
		bad("-exposure %d: split mode has no exposure, leave it out", o.Exposure)
	}
	checkWeights := func(flag string, weights []int) {
		if len(weights) != len(clusterNames) {
			bad("%s: %d weights for %d clusters", flag, len(weights), len(clusterNames))
		}
		if slices.ContainsFunc(weights, func(w int) bool { return w < 1 || w > 100 }) {
			bad("%s %v: a cluster weight is from 1 to 100 per cent in the demo, so that every cluster is measured", flag, weights)
		}
	}
	checkWeights("-weights", o.Weights)
	if len(o.Reweight) > 0 {
		checkWeights("-reweight", o.Reweight)
	}
	ascending := len(o.Steps) > 0 && slices.IsSorted(o.Steps) && len(slices.Compact(slices.Clone(o.Steps))) == len(o.Steps)
	if !ascending || o.Steps[0] < 1 || o.Steps[len(o.Steps)-1] > 100 {
		bad("-steps %v: they are ascending and from 1 to 100 per cent", o.Steps)
	}
	if o.Users < 1 {
		bad("-users %d: at least one is needed", o.Users)
	}
	if o.Measure < time.Second {
		bad("-measure %s: it is at least 1s", o.Measure)
	}
	return errors.Join(errs...)
}

// leastTrials is how many independent resolutions a stage must have: what half of the users make.
func (o Options) leastTrials() int {
	rounds := float64(o.Measure) / float64(TTL+time.Second)
	return max(1, int(float64(o.Users)*rounds/2))
}
