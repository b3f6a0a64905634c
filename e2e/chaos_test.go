package e2e_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/e2e/internal/gateway"
	"github.com/penstock-dev/penstock/e2e/internal/traffic"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

var (
	chaosLength = flag.Duration("chaos", time.Minute, "how long TestChaos makes trouble")
	chaosSeed   = flag.Uint64("chaos-seed", 1, "what TestChaos' troubles follow from")
)

// trouble is something that happens to a canary.
type trouble struct {
	name string
	// of is what it happens to; nothing else happens to that at the same time.
	of   string
	fits func(setup) bool // nil fits all
	// make returns what tells whether anybody has met the trouble, asked while it lasts; nil if it ends another.
	make func(s *site, random *rand.Rand) (met func() bool)
}

// done is what tells that a trouble was met as soon as it was made.
func done() bool { return true }

func inDNS(s setup) bool { return s.provider == "dns-weighted" }

func split(s setup) bool { return s.split }

// changing returns a condition: from now on somebody has asked Route 53 for changes.
func (s *site) changing() func() bool {
	calls := func() int { return s.app.route53.Calls(route53emulator.ChangeResourceRecordSets) }
	before := calls()
	return func() bool { return calls() > before }
}

// decide has the gateway do something to some requests for routes, and returns a condition: it has done so.
func (s *site) decide(fault gateway.Fault, which func(*http.Request) bool) func() bool {
	var met atomic.Bool
	s.gateway.Decide(func(r *http.Request) gateway.Fault {
		if !ofRoutes(r) || !which(r) {
			return gateway.Fault{}
		}
		met.Store(true)
		return fault
	})
	return met.Load
}

func (s *site) releaseAny(random *rand.Rand, kind string, faults int) func() bool {
	s.release(fmt.Sprintf("%s-%d", kind, random.IntN(1e6)), faults)
	return done
}

var troubles = []trouble{
	{"a good version", "versions", nil, func(s *site, random *rand.Rand) func() bool { return s.releaseAny(random, "good", 0) }},
	{"another good version", "versions", nil, func(s *site, random *rand.Rand) func() bool { return s.releaseAny(random, "good", 0) }},
	{"a bad version", "versions", nil, func(s *site, random *rand.Rand) func() bool { return s.releaseAny(random, "bad", 2) }},
	{"Flagger is killed", "Flagger", nil, func(s *site, _ *rand.Rand) func() bool {
		s.flagger.Kill()
		s.startFlagger()
		return done
	}},
	{"a Skipper is replaced", "Skipper", nil, func(s *site, random *rand.Rand) func() bool {
		s.restartSkipper(random.IntN(len(s.listeners)))
		return done
	}},
	{"the Ingress is edited", "the Ingress", nil, func(s *site, random *rand.Rand) func() bool {
		exact := networkingv1.PathTypeExact
		change := func(i *networkingv1.Ingress) {
			i.Annotations["zalando.org/skipper-filter"] = fmt.Sprintf(`setResponseHeader("X-Edited", "%d")`, random.IntN(1e6))
			paths := &i.Spec.Rules[0].HTTP.Paths
			more := (*paths)[0]
			more.Path, more.PathType = fmt.Sprintf("/more-%d", random.IntN(1e6)), &exact
			*paths = append((*paths)[:1], more)
			i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{s.app.host}, SecretName: fmt.Sprintf("tls-%d", random.IntN(1e6))}}
		}
		s.edit(name, change)
		if s.app.setup.split {
			s.edit(next, change) // it is the user's, too
		}
		return done
	}},
	{
		"the canary Ingress is deleted", "the canary Ingress", func(s setup) bool { return !s.split }, // where it is the user's
		func(s *site, _ *rand.Rand) func() bool {
			err := s.Kube.NetworkingV1().Ingresses(s.app.namespace).Delete(s.app.t.Context(), name+"-canary", metav1.DeleteOptions{})
			return func() bool { return err == nil } // it need not be there
		},
	},
	{"every third write of the API fails", "the API", nil, func(s *site, random *rand.Rand) func() bool {
		var writes atomic.Int64
		status := []int{http.StatusConflict, http.StatusTooManyRequests, http.StatusInternalServerError}[random.IntN(3)]
		return s.decide(gateway.Fault{Status: status}, func(r *http.Request) bool { return r.Method != http.MethodGet && writes.Add(1)%3 == 0 })
	}},
	{"answers of every second write of the API are lost", "the API", nil, func(s *site, _ *rand.Rand) func() bool {
		var writes atomic.Int64
		return s.decide(gateway.Fault{Lost: true}, func(r *http.Request) bool { return r.Method != http.MethodGet && writes.Add(1)%2 == 0 })
	}},
	{"the API does not answer", "the API", nil, func(s *site, _ *rand.Rand) func() bool {
		return s.decide(gateway.Fault{Hold: make(chan struct{})}, func(*http.Request) bool { return true })
	}},
	{"the API is well", "the API", nil, func(s *site, _ *rand.Rand) func() bool {
		s.gateway.Decide(nil)
		return nil
	}},
	{"the cluster's weight changes", "the weight", inDNS, func(s *site, random *rand.Rand) func() bool {
		s.edit(name, func(i *networkingv1.Ingress) { i.Annotations[weightAnnotation] = fmt.Sprint(1 + random.IntN(100)) })
		return done
	}},
	{"external-dns is killed", "external-dns", func(s setup) bool { return s.backend == "externaldns" }, func(s *site, _ *rand.Rand) func() bool {
		s.externalDNS.Kill()
		s.startExternalDNS()
		return done
	}},
	{"Route 53 throttles five changes", "the changes' rate", inDNS, func(s *site, _ *rand.Rand) func() bool {
		s.app.route53.Inject(route53emulator.Fault{Kind: route53emulator.Throttled, Operation: route53emulator.ChangeResourceRecordSets, Times: 5})
		return s.changing()
	}},
	{"Route 53 is not available for five changes", "the changes' rate", inDNS, func(s *site, _ *rand.Rand) func() bool {
		s.app.route53.Inject(route53emulator.Fault{Kind: route53emulator.Unavailable, Operation: route53emulator.ChangeResourceRecordSets, Times: 5})
		return s.changing()
	}},
	{"a record of somebody else is in the way", "the inner name", split, func(s *site, _ *rand.Rand) func() bool {
		if err := s.inTheWay(route53types.ChangeActionCreate); err != nil {
			s.app.t.Logf("it is not: %v", err) // there is an inner set, or one that is in the way already
			return nil
		}
		return s.changing()
	}},
	{"no record of somebody else is in the way", "the inner name", split, func(s *site, _ *rand.Rand) func() bool {
		if err := s.inTheWay(route53types.ChangeActionDelete); err != nil {
			s.app.t.Logf("there was none, or it stays: %v", err)
		}
		return nil
	}},
	{"changes stay PENDING", "the changes", inDNS, func(s *site, _ *rand.Rand) func() bool {
		s.app.route53.HoldChanges(true)
		return s.changing()
	}},
	{"changes become INSYNC", "the changes", inDNS, func(s *site, _ *rand.Rand) func() bool {
		s.app.route53.HoldChanges(false)
		return nil
	}},
}

// TestChaos makes trouble in a random order, and checks what must hold at every moment. The order follows from the seed; when the things
// that it meets happen does not.
func TestChaos(t *testing.T) {
	t.Parallel()
	each(t, map[string]setup{
		"Skipper": skipperProvider, "Shared": sharedRoute53.exposing(50), "ABTest": sharedRoute53.matching(),
		"Split": splitRoute53, "SplitExternalDNS": splitExternalDNS,
	}, func(t *testing.T, s setup) {
		a := newApp(t, s.with(func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = true }))
		east := a.sites["east"]
		random := rand.New(rand.NewPCG(*chaosSeed, uint64(crc32.ChecksumIEEE([]byte(t.Name())))))
		made, met := east.makeTrouble(random)
		if 4*met < made {
			t.Errorf("%d troubles were made, and %d were met, want a quarter of them at least", made, met)
		}
		a.figures.note("seed %d, %s, %d of %d troubles were met", *chaosSeed, *chaosLength, met, made)

		east.approve(east.judgeable) // which would have kept it from trouble at most weights
		east.release("last", 0)
		east.wait("all is over", 2*patience, func() bool { // what trouble has left comes to its end first
			last := east.Node.Requests(a.namespace, primary, "last") > 0
			return last && east.phase(flaggerv1.CanaryPhaseSucceeded)()
		})
		a.only(primary, "last")
		a.untouched()
		if !s.matches {
			east.workloadShares()
		} else if slices.ContainsFunc(a.recorder.All(), func(s traffic.Sample) bool { return s.Workload == name }) {
			t.Error("somebody who does not meet the condition was answered by the canary")
		}

		if s.backend == "externaldns" {
			return // the drain of a deletion takes minutes there, and TestDeletion has it
		}
		east.release("deleted", 0)
		<-time.After(time.Duration(random.Int64N(int64(time.Minute))))
		east.delete()
		a.reverted(east, "deleted")
	})
}

// approve lets the canary go on from a weight when that is approved.
func (s *site) approve(approved func(weight int) bool) {
	t := s.app.t
	t.Helper()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"analysis": map[string]any{"webhooks": []flaggerv1.CanaryWebhook{s.startApproval(approved)}}}})
	must(t, err)
	_, err = s.Flagger.FlaggerV1beta1().Canaries(s.app.namespace).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
	must(t, err)
}

// makeTrouble returns how many troubles it made, and how many of them were met. When it returns, all is well.
func (s *site) makeTrouble(random *rand.Rand) (made, met int) {
	t := s.app.t
	t.Helper()
	fitting := slices.DeleteFunc(slices.Clone(troubles), func(what trouble) bool { return what.fits != nil && !what.fits(s.app.setup) })
	lasting := map[string]func() bool{}
	over := func(of string) {
		if wasMet := lasting[of]; wasMet != nil && wasMet() {
			met++
		}
		delete(lasting, of)
	}
	for end := time.Now().Add(*chaosLength); time.Now().Before(end); {
		what := fitting[random.IntN(len(fitting))]
		t.Logf("%s %s", time.Now().Format(time.TimeOnly), what.name)
		over(what.of)
		if lasting[what.of] = what.make(s, random); lasting[what.of] != nil {
			made++
		}
		<-time.After(time.Second + time.Duration(random.Int64N(int64(8*time.Second))))
	}
	for of := range lasting {
		over(of)
	}
	s.gateway.Decide(nil)
	s.app.route53.ClearFaults()
	s.app.route53.HoldChanges(false)
	if slices.ContainsFunc(s.app.route53.RecordSets(s.app.zoneID), func(r route53types.ResourceRecordSet) bool {
		return aws.ToString(r.Name) == s.innerName()+"." && r.Type == route53types.RRTypeCname
	}) {
		must(t, s.inTheWay(route53types.ChangeActionDelete))
	}
	return made, met
}

// workloadShares checks the share of the canary's pods in every time that was steady for long enough, whatever versions they ran, and that there
// was one at each step.
func (s *site) workloadShares() {
	s.app.t.Helper()
	want := map[int]map[traffic.Cell]float64{}
	for _, weight := range []int{20, 40} {
		share := float64(weight) / 100
		want[weight] = map[traffic.Cell]float64{{Cluster: s.Name, Version: primary}: 1 - share, {Cluster: s.Name, Version: name}: share}
	}
	s.sharesOf(want, func(samples []traffic.Sample) map[traffic.Cell]int {
		for i := range samples {
			samples[i].Cell.Version = samples[i].Workload
		}
		return traffic.Counts(samples)
	})
}
