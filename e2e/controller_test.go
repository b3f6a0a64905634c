package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/e2e/internal/process"
	"github.com/penstock-dev/penstock/e2e/internal/traffic"
)

// controller says that a traffic controller publishes.
const controller = "controller"

// weightConfigMap holds the cluster's weight.
const weightConfigMap = "penstock-traffic"

// The ways in which a traffic controller publishes what routers wish.
var (
	sharedController = setup{provider: "dns-weighted", backend: "route53", publish: controller}
	splitController  = setup{provider: "dns-weighted", backend: "route53", publish: controller, split: true}
)

// startController starts a replica of the traffic controller for the application's hosts.
func (s *site) startController(flags ...string) *process.Process {
	t := s.app.t
	t.Helper()
	env := append(s.awsEnv(), "KUBECONFIG="+s.kubeconfig(), "POD_NAMESPACE="+s.app.namespace, fmt.Sprintf("POD_NAME=penstock-%d", len(s.controllers)))
	if s.app.setup.table != nil {
		toTable, more := s.toTable()
		env, flags = append(env, toTable...), append(more, flags...)
	}
	p, err := process.Start(process.Options{Env: env, Log: s.openLog(fmt.Sprintf("penstock-%d", len(s.controllers)))}, program("penstock"), append([]string{
		"controller", "--cluster-name=" + s.Name, "--backend-type=configmap", fmt.Sprintf("--initial-weight=%d", s.app.setup.weights[s.Name]),
		"--dns-backend=" + s.app.setup.backend, "--dns-resolvers=" + s.app.route53.NameServers()[0], "--binding-domain=" + s.app.zone,
		"--host-ttl=" + ttl.String(), "--inner-ttl=" + ttl.String(), "--route53-rate=20", "--enable-leader-election",
		"--metrics-addr=127.0.0.1:" + freePort(t), "--health-addr=127.0.0.1:" + freePort(t),
	}, flags...)...)
	must(t, err)
	t.Cleanup(p.Kill)
	return p
}

// setWeight does what kubectl edit does with the cluster's weight.
func (s *site) setWeight(weight int) {
	t := s.app.t
	t.Helper()
	patch, err := json.Marshal(map[string]any{"data": map[string]string{"DesiredWeight": strconv.Itoa(weight)}})
	must(t, err)
	_, err = s.Kube.CoreV1().ConfigMaps(s.app.namespace).Patch(t.Context(), weightConfigMap, types.MergePatchType, patch, metav1.PatchOptions{})
	must(t, err)
}

// served returns the weight that the controller has acknowledged; -1 before the first one.
func (s *site) served() int {
	t := s.app.t
	t.Helper()
	configMap, err := s.Kube.CoreV1().ConfigMaps(s.app.namespace).Get(t.Context(), weightConfigMap, metav1.GetOptions{})
	if err != nil {
		return -1
	}
	weight, err := strconv.Atoi(configMap.Data["CurrentWeight"])
	if err != nil {
		return -1
	}
	return weight
}

// TestClusterWeights: traffic follows what people write into the store of one of two clusters, and what is acknowledged is served. A second replica stands by
// all the time and does nothing. The leader is killed in the middle of a change, which the other one ends.
func TestClusterWeights(t *testing.T) {
	t.Parallel()
	for label, backend := range map[string]string{"Route53": "route53", "ExternalDNS": "externaldns"} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, setup{
				provider: "dns-weighted", backend: backend, publish: controller, weights: map[string]int{"east": 100, "west": 100},
			})
			east := a.sites["east"]
			leader, port, healthPort := east.controllers[0], freePort(t), freePort(t)
			east.controllers = append(east.controllers, east.startController("--metrics-addr=127.0.0.1:"+port, "--health-addr=127.0.0.1:"+healthPort))
			healthy := func(when string) {
				t.Helper()
				for _, path := range []string{"/healthz", "/readyz"} {
					if status, text := metricsOf(t, healthPort, path); status != http.StatusOK {
						t.Errorf("%s: %s is %d %s", when, path, status, text)
					}
				}
			}
			clusters := func(east float64) map[traffic.Cell]float64 {
				return map[traffic.Cell]float64{{Cluster: "east", Version: version}: east, {Cluster: "west", Version: version}: 1 - east}
			}
			a.sharesNow("both at 100", clusters(0.5))
			for _, step := range []struct {
				weight int
				share  float64
			}{{25, 0.2}, {0, 0}, {100, 0.5}} {
				east.setWeight(step.weight)
				east.wait(fmt.Sprintf("weight %d is acknowledged", step.weight), patience, func() bool { return east.served() == step.weight })
				<-time.After(ttl + time.Second) // users keep an answer that long
				a.sharesNow(fmt.Sprintf("east at %d", step.weight), clusters(step.share))
			}

			// The other replica has stood by through all these changes.
			const gauge = "cluster_traffic_controller_ingress_weight_current"
			if status, text := metricsOf(t, port, "/metrics"); status != http.StatusOK || strings.Contains(text, gauge) {
				t.Errorf("the metrics of the replica that stands by (%d) have a weight", status)
			}
			if status, text := metricsOf(t, port, "/status"); status != http.StatusServiceUnavailable {
				t.Errorf("the replica that stands by has a status: %d %s", status, text)
			}
			healthy("a replica that stands by")
			east.setWeight(50)
			leader.Kill()
			east.wait("the other replica acknowledges", patience, func() bool { return east.served() == 50 })
			east.wait("the new leader's metrics have the weight", patience, func() bool { // right after the store
				_, text := metricsOf(t, port, "/metrics")
				return strings.Contains(text, gauge+" 50\n")
			})
			healthy("a replica that leads")
			<-time.After(ttl + time.Second)
			a.sharesNow("after the leader has died", clusters(1.0/3))
			a.failures()
		})
	}
}

// TestCanariesUnderAController: the traffic controller publishes what Flagger's router wishes, while the cluster's weight changes.
func TestCanariesUnderAController(t *testing.T) {
	t.Parallel()
	each(t, map[string]setup{"Shared": sharedController, "Split": splitController}, func(t *testing.T, s setup) {
		s.weights = map[string]int{"east": 100, "west": 100}
		a := newApp(t, s)
		east := a.sites["east"]
		var goOn atomic.Bool
		east.approve(func(int) bool { return goOn.Load() })
		east.release(release, 0)
		east.wait("the canary has its first share", patience, east.atWeight(20))
		for weight, share := range map[int]float64{50: 1.0 / 3, 25: 0.2} {
			east.setWeight(weight)
			east.wait("the weight is acknowledged in mid-canary", patience, func() bool { return east.served() == weight })
			<-time.After(ttl + time.Second)
			a.sharesNow(fmt.Sprintf("in mid-canary, with the cluster at %d", weight), exposed(share, 0.2))
		}
		east.setWeight(50)
		goOn.Store(true)
		east.wait("the canary ends", patience, east.phase(flaggerv1.CanaryPhaseSucceeded, flaggerv1.CanaryPhaseFailed))
		if phase := east.history.last().phase; phase != flaggerv1.CanaryPhaseSucceeded {
			t.Errorf("phase %s", phase)
		}
		east.wait("the weight is acknowledged", patience, func() bool { return east.served() == 50 })
		<-time.After(ttl + time.Second)
		a.sharesNow("after the canary", map[traffic.Cell]float64{{Cluster: "east", Version: release}: 1.0 / 3, {Cluster: "west", Version: version}: 2.0 / 3})
		a.untouched()
	})
}
