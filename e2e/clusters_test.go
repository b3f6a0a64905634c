package e2e_test

import (
	"slices"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

	"github.com/penstock-dev/penstock/e2e/internal/traffic"
)

// window is for how long requests are counted before shares are judged, or longer where there are too few.
const window = 5 * time.Second

// TestTwoClusters runs the same canary in two clusters behind one host at the same time. One is rolled back while the other is promoted.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	each(t, map[string]setup{"Shared": sharedRoute53, "Split": splitRoute53}, func(t *testing.T, s setup) {
		s.weights = map[string]int{"east": 75, "west": 25}
		a := newApp(t, s)
		east, west := a.sites["east"], a.sites["west"]
		clusters := func(eastVersion, westVersion string) map[traffic.Cell]float64 {
			return map[traffic.Cell]float64{{Cluster: "east", Version: eastVersion}: 0.75, {Cluster: "west", Version: westVersion}: 0.25}
		}
		a.sharesNow("before", clusters(version, version))
		from := time.Now()
		east.release(release, 2)
		west.release(release, 0)
		for s, want := range map[*site]flaggerv1.CanaryPhase{east: flaggerv1.CanaryPhaseFailed, west: flaggerv1.CanaryPhaseSucceeded} {
			s.ends(want)
		}
		if !slices.ContainsFunc(east.history.all(), func(m moment) bool { return m.splits() && west.history.at(m.at).splits() }) {
			t.Error("the canaries had no time in common in which both had a share")
		}
		// However the versions move, the shares of the clusters do not, at no time.
		byCluster := map[traffic.Cell]int{}
		for to := time.Now(); from.Before(to); from = from.Add(window) {
			for cell, n := range traffic.Counts(a.recorder.Between(from, from.Add(window))) {
				byCluster[traffic.Cell{Cluster: cell.Cluster}] += n
			}
			if total(byCluster) >= least {
				a.judge("until "+from.Add(window).Format(time.TimeOnly), byCluster, clusters("", ""))
				clear(byCluster)
			}
		}
		<-time.After(settle + syncDelay + ttl)
		a.sharesNow("after", clusters(version, release))
		a.untouched()
	})
}

// TestExposure: while its canary is young, a cluster gets a part of its weight alone.
func TestExposure(t *testing.T) {
	t.Parallel()
	each(t, map[string]setup{"Route53": sharedRoute53, "ExternalDNS": sharedExternalDNS}, func(t *testing.T, s setup) {
		s = s.exposing(40).judged()
		s.weights = map[string]int{"east": 75, "west": 25}
		a := newApp(t, s)
		east := a.sites["east"]
		east.release(release, 0)
		east.ends(flaggerv1.CanaryPhaseSucceeded)
		// 40 % of 75 is 30, beside 25; at its maximum the canary has all of the cluster's weight again.
		east.shares(map[int]map[traffic.Cell]float64{20: exposed(30.0/55, 0.2), 40: exposed(0.75, 0.4)})
		a.wait("the clusters have their weights", time.Minute, a.restored)
		a.untouched()
	})
}

// exposed returns the shares when one of two clusters has a share, and its canary a share of that.
func exposed(cluster, canary float64) map[traffic.Cell]float64 {
	return map[traffic.Cell]float64{
		{Cluster: "east", Version: version}: cluster * (1 - canary), {Cluster: "east", Version: release}: cluster * canary,
		{Cluster: "west", Version: version}: 1 - cluster,
	}
}
