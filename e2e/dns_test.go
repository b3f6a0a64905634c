package e2e_test

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/internal/route53emulator"
)

func (a *app) startRoute53() {
	a.t.Helper()
	var err error
	if a.route53, err = route53emulator.New(route53emulator.Options{SyncDelay: syncDelay}); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() {
		if a.t.Failed() {
			a.t.Logf("the A records at the end:\n%s", a.changes.last)
		}
		if err := a.route53.Close(); err != nil {
			a.t.Error(err)
		}
	})
	if a.zoneID, err = a.route53.AddZone(a.zone); err != nil {
		a.t.Fatal(err)
	}
	a.watchRoute53()
	if !inDNS(a.setup) { // it leaves DNS to others
		address := a.sites["east"].addresses[0].String()
		err := a.route53.Seed(a.zoneID, route53types.ResourceRecordSet{
			Name: &a.host, Type: route53types.RRTypeA, TTL: aws.Int64(int64(ttl / time.Second)),
			ResourceRecords: []route53types.ResourceRecord{{Value: &address}},
		})
		if err != nil {
			a.t.Fatal(err)
		}
	}
}

// changes are the times at which records of a zone changed.
type changes struct {
	mu   sync.Mutex // guards the following
	at   []time.Time
	last string
}

// watchRoute53 notes changes of the zone's A records until the test ends.
func (a *app) watchRoute53() {
	ctx, stop := context.WithCancel(a.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			var text strings.Builder
			for _, set := range a.route53.RecordSets(a.zoneID) {
				if set.Type == route53types.RRTypeA {
					_ = json.NewEncoder(&text).Encode(set) // plain data
				}
			}
			a.changes.mu.Lock()
			if a.changes.last != text.String() {
				a.changes.last, a.changes.at = text.String(), append(a.changes.at, time.Now())
			}
			a.changes.mu.Unlock()
		}
	})
	a.t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

// changedBefore returns when the zone was last changed before a time.
func (a *app) changedBefore(at time.Time) time.Time {
	a.changes.mu.Lock()
	defer a.changes.mu.Unlock()
	var last time.Time
	for _, change := range a.changes.at {
		if change.Before(at) {
			last = change
		}
	}
	return last
}

// resolves tells whether DNS answers for the host with an address of every cluster that has a weight.
func (a *app) resolves() bool {
	if !inDNS(a.setup) {
		return true
	}
	published := a.recordWeights(a.host)
	for cluster := range a.setup.weights {
		if _, ok := published[cluster]; !ok {
			return false
		}
	}
	return true
}

// recordWeights returns the weights of a name's A records, by set identifier.
func (a *app) recordWeights(name string) map[string]int {
	found := map[string]int{}
	for _, set := range a.route53.RecordSets(a.zoneID) {
		if set.Type == route53types.RRTypeA && aws.ToString(set.Name) == name+"." {
			found[aws.ToString(set.SetIdentifier)] = int(aws.ToInt64(set.Weight))
		}
	}
	return found
}

// innerLabel stands in the names of what is in DNS for a canary alone.
const innerLabel = "._canary."

// innerWeights returns the weights of a cluster's inner set.
func (a *app) innerWeights(cluster string) map[string]int {
	return a.recordWeights(cluster + innerLabel + a.host)
}

// inner returns the names of all records of inner sets, and of what goes with them.
func (a *app) inner() []string {
	var names []string
	for _, set := range a.route53.RecordSets(a.zoneID) {
		if name := aws.ToString(set.Name); strings.Contains(name, innerLabel) {
			names = append(names, name)
		}
	}
	return names
}

// leads returns the address, or the name, that each name of the zone leads to; several of one name are joined.
func (a *app) leads() map[string]string {
	found := map[string]string{}
	for _, set := range a.route53.RecordSets(a.zoneID) {
		if set.Type != route53types.RRTypeA {
			continue
		}
		name, to := aws.ToString(set.Name), ""
		if set.AliasTarget != nil {
			to = aws.ToString(set.AliasTarget.DNSName)
		}
		for _, record := range set.ResourceRecords {
			to += aws.ToString(record.Value)
		}
		found[name] += to
	}
	return found
}

// restored tells whether DNS is as it is without a canary: the host leads to the load balancers of the apex Ingresses, each with the whole weight
// of its cluster, and there is no inner set.
func (a *app) restored() bool {
	a.t.Helper()
	if !inDNS(a.setup) { // it leaves DNS to others
		return true
	}
	got, want := map[string]int{}, map[string]int{}
	for _, set := range a.route53.RecordSets(a.zoneID) {
		if set.Type != route53types.RRTypeA || aws.ToString(set.Name) != a.host+"." || len(set.ResourceRecords) == 0 {
			continue
		}
		got[aws.ToString(set.SetIdentifier)+" "+aws.ToString(set.ResourceRecords[0].Value)] = int(aws.ToInt64(set.Weight))
	}
	for cluster, s := range a.sites {
		want[cluster+" "+s.addresses[0].String()] = s.wholeWeight()
	}
	return maps.Equal(got, want) && len(a.inner()) == 0
}

const weightAnnotation = "dns.adevinta.com/traffic-weight"

// wholeWeight returns what the cluster's record weighs while no canary exposes less.
func (s *site) wholeWeight() int {
	t := s.app.t
	t.Helper()
	i, err := s.Kube.NetworkingV1().Ingresses(s.app.namespace).Get(t.Context(), name, metav1.GetOptions{})
	must(t, err)
	share := 100
	if text, ok := i.Annotations[weightAnnotation]; ok {
		share, err = strconv.Atoi(text)
		must(t, err)
	}
	return (s.app.setup.weights[s.Name]*share + 99) / 100 // never 0 for what is not 0
}
