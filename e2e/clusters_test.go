package e2e_test

import (
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

	"github.com/penstock-dev/penstock/e2e/internal/traffic"
)

// TestTwoClusters runs the same canary in two clusters behind one host at the same time. One is rolled back while the other is promoted.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	for label, s := range map[string]setup{"Shared": sharedRoute53, "Split": splitRoute53} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			s.weights = map[string]int{"east": 75, "west": 25}
			a := newApp(t, s)
			east, west := a.sites["east"], a.sites["west"]
			cluster := func(eastVersion, westVersion string) map[traffic.Cell]float64 {
				return map[traffic.Cell]float64{{Cluster: "east", Version: eastVersion}: 0.75, {Cluster: "west", Version: westVersion}: 0.25}
			}
			a.sharesNow("before", cluster(version, version))
			east.release(release, 2)
			west.release(release, 0)
			ended := []flaggerv1.CanaryPhase{flaggerv1.CanaryPhaseSucceeded, flaggerv1.CanaryPhaseFailed}
			from := time.Now()
			for s, want := range map[*site]flaggerv1.CanaryPhase{east: flaggerv1.CanaryPhaseFailed, west: flaggerv1.CanaryPhaseSucceeded} {
				s.wait("the canary ends", patience, s.phase(ended...))
				if got := s.history.last().phase; got != want {
					t.Errorf("cluster %s: phase %s, want %s", s.Name, got, want)
				}
			}
			// However the versions move, the shares of the clusters do not.
			clusters := map[traffic.Cell]int{}
			for cell, n := range traffic.Counts(a.recorder.Between(from, time.Now())) {
				clusters[traffic.Cell{Cluster: cell.Cluster}] += n
			}
			t.Logf("all the time: %v", clusters)
			for _, err := range traffic.Check(clusters, map[traffic.Cell]float64{{Cluster: "east"}: 0.75, {Cluster: "west"}: 0.25}) {
				t.Errorf("all the time: %v", err)
			}
			<-time.After(settle + syncDelay + ttl)
			a.sharesNow("after", cluster(version, release))
			a.untouched()
		})
	}
}
