package e2e_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	dns  bool // it is about DNS
	make func(s *site, random *rand.Rand)
}

var troubles = []trouble{
	{"a good version", false, func(s *site, random *rand.Rand) { s.release(fmt.Sprintf("good-%d", random.IntN(1e6)), 0) }},
	{"another good version", false, func(s *site, random *rand.Rand) { s.release(fmt.Sprintf("good-%d", random.IntN(1e6)), 0) }},
	{"a bad version", false, func(s *site, random *rand.Rand) { s.release(fmt.Sprintf("bad-%d", random.IntN(1e6)), 2) }},
	{"Flagger is killed", false, func(s *site, _ *rand.Rand) {
		s.flagger.Kill()
		s.startFlagger()
	}},
	{"Skipper is replaced", false, func(s *site, _ *rand.Rand) { s.restartSkipper(0) }},
	{"the Ingress is edited", false, func(s *site, random *rand.Rand) {
		s.edit(name, func(i *networkingv1.Ingress) {
			i.Annotations["zalando.org/skipper-filter"] = fmt.Sprintf(`setResponseHeader("X-Edited", "%d")`, random.IntN(1e6))
		})
	}},
	{"the canary Ingress is deleted", false, func(s *site, _ *rand.Rand) {
		if s.app.setup.split {
			return // it is the user's
		}
		// It need not be there.
		_ = s.Kube.NetworkingV1().Ingresses(s.app.namespace).Delete(s.app.t.Context(), name+"-canary", metav1.DeleteOptions{})
	}},
	{"every third write of the API fails", false, func(s *site, random *rand.Rand) {
		status := []int{http.StatusConflict, http.StatusTooManyRequests, http.StatusInternalServerError}[random.IntN(3)]
		var writes atomic.Int64
		s.gateway.Decide(func(r *http.Request) gateway.Fault {
			if ofRoutes(r) && r.Method != http.MethodGet && writes.Add(1)%3 == 0 {
				return gateway.Fault{Status: status}
			}
			return gateway.Fault{}
		})
	}},
	{"the API does not answer", false, func(s *site, _ *rand.Rand) {
		never := make(chan struct{})
		s.gateway.Decide(func(r *http.Request) gateway.Fault {
			if ofRoutes(r) {
				return gateway.Fault{Hold: never}
			}
			return gateway.Fault{}
		})
	}},
	{"the API is well", false, func(s *site, _ *rand.Rand) { s.gateway.Decide(nil) }},
	{"the cluster's weight changes", true, func(s *site, random *rand.Rand) {
		s.edit(name, func(i *networkingv1.Ingress) {
			i.Annotations["dns.adevinta.com/traffic-weight"] = fmt.Sprint(1 + random.IntN(100))
		})
	}},
	{"external-dns is killed", true, func(s *site, _ *rand.Rand) {
		if s.externalDNS != nil {
			s.externalDNS.Kill()
			s.startExternalDNS()
		}
	}},
	{"Route 53 throttles five changes", true, func(s *site, _ *rand.Rand) {
		s.app.route53.Inject(route53emulator.Fault{Kind: route53emulator.Throttled, Operation: route53emulator.ChangeResourceRecordSets, Times: 5})
	}},
	{"changes stay PENDING", true, func(s *site, _ *rand.Rand) { s.app.route53.HoldChanges(true) }},
	{"changes become INSYNC", true, func(s *site, _ *rand.Rand) { s.app.route53.HoldChanges(false) }},
}

// TestChaos makes trouble in a random order, and checks what must hold at every moment. The order follows from the seed; when the things
// that it meets happen does not.
func TestChaos(t *testing.T) {
	t.Parallel()
	setups := map[string]setup{"Skipper": skipperProvider, "Shared": sharedRoute53, "Split": splitRoute53, "SplitExternalDNS": splitExternalDNS}
	each(t, setups, func(t *testing.T, s setup) {
		a := newApp(t, s.with(func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = true }))
		east := a.sites["east"]
		random := rand.New(rand.NewPCG(*chaosSeed, uint64(len(t.Name()))))
		made := 0
		for end := time.Now().Add(*chaosLength); time.Now().Before(end); made++ {
			what := troubles[random.IntN(len(troubles))]
			if what.dns && s.provider != "dns-weighted" {
				continue
			}
			t.Logf("%s %s", time.Now().Format(time.TimeOnly), what.name)
			what.make(east, random)
			<-time.After(time.Second + time.Duration(random.Int64N(int64(8*time.Second))))
		}
		east.gateway.Decide(nil)
		a.route53.ClearFaults()
		a.route53.HoldChanges(false)
		east.release("last", 0)
		east.wait("all is over", patience, func() bool {
			last := east.Node.Requests(a.namespace, primary, "last") > 0
			return last && east.phase(flaggerv1.CanaryPhaseSucceeded)()
		})
		a.only(primary, "last")
		a.untouched()
		east.workloadShares()
		a.figures.note("seed %d, %s, %d troubles", *chaosSeed, *chaosLength, made)

		east.release("deleted", 0)
		<-time.After(time.Duration(random.Int64N(int64(time.Minute))))
		east.delete()
		<-time.After(settle + syncDelay + ttl)
		a.only(name, "deleted")
		a.failures()
		a.nothingLeft(east)
	})
}

// workloadShares checks the share of the canary's pods in every time that was steady, whatever versions they ran.
func (s *site) workloadShares() {
	s.app.t.Helper()
	for _, period := range s.history.steady(s.app.changedBefore) {
		counts, n := map[traffic.Cell]int{}, 0
		for _, sample := range s.app.recorder.Between(period.from, period.to) {
			if sample.Fresh && sample.Err == nil {
				counts[traffic.Cell{Cluster: s.Name, Version: sample.Workload}]++
				n++
			}
		}
		if n < least {
			continue
		}
		share := float64(period.weight) / 100
		s.app.judge(period.String(), counts, map[traffic.Cell]float64{{Cluster: s.Name, Version: name + "-primary"}: 1 - share, {Cluster: s.Name, Version: name}: share})
	}
}
