package charts_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	promqlparser "github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

// An hour of samples, one each half a minute.
const (
	hour   = time.Hour
	scrape = 30 * time.Second
)

// scraped has series of an hour in the notation of Prometheus' own tests of rules.
// https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/#series
type scraped map[string]string

// began is when they do.
var began = time.Unix(0, 0).UTC()

func (s scraped) load() string {
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, "load %s\n", model.Duration(scrape))
	for series, samples := range s {
		_, _ = fmt.Fprintf(&text, "  %s %s\n", series, samples)
	}
	return text.String()
}

func TestWhichAlertsAreRaised(t *testing.T) {
	t.Parallel()
	rules := of[*monitoringv1.PrometheusRule](decode(t, mustRender(t, "{options: {clusterName: east}, prometheusRule: {enabled: true}}")))
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: promqlparser.NewParser(promqlparser.Options{})})
	t.Cleanup(func() { _ = engine.Close() })
	const (
		desired, current = "cluster_traffic_controller_ingress_weight_desired", "cluster_traffic_controller_ingress_weight_current"
		phase            = `penstock_traffic_ramp_phase{phase="`
		rounds           = `penstock_traffic_store_rounds_total{outcome="`
	)
	for name, tc := range map[string]struct {
		reason string
		series scraped
		want   []string
	}{
		"Served":       {"All is as it should be.", scraped{desired: "50x120", current: "50x120", "penstock_traffic_pending_ingresses": "0x120", phase + `Moving"}`: "0x120", rounds + `ok"}`: "0+1x120"}, nil},
		"Standby":      {"Who does not lead shows nothing, and misses nothing where another one leads.", scraped{"penstock_route53_pending_publications": "0x120"}, nil},
		"NotServed":    {"Nobody has carried out what is asked for.", scraped{desired: "50x120", current: "100x120", phase + `Moving"}`: "0x120"}, []string{"PenstockWeightNotServed"}},
		"Moving":       {"A gradual move is on its way.", scraped{desired: "50x120", current: "100x120", phase + `Moving"}`: "1x120"}, nil},
		"OthersMove":   {"A move in another cluster says nothing of this one.", scraped{desired + `{pod="a"}`: "50x120", current + `{pod="a"}`: "100x120", phase + `Moving",pod="b"}`: "1x120"}, []string{"PenstockWeightNotServed"}},
		"RolledBack":   {"A move went back.", scraped{desired: "50x120", current: "100x120", phase + `RolledBack"}`: "1x120"}, []string{"PenstockRampRolledBack", "PenstockWeightNotServed"}},
		"Pending":      {"DNS does not answer with it.", scraped{"penstock_traffic_pending_ingresses": "2x120"}, []string{"PenstockIngressesPending"}},
		"Refused":      {"Somebody has to mend something.", scraped{"penstock_traffic_refused_hosts": "1x120"}, []string{"PenstockHostsRefused"}},
		"Throttled":    {"It goes on.", scraped{`penstock_route53_throttles_total{operation="GetChange"}`: "0+1x120"}, []string{"PenstockRoute53Throttled"}},
		"WasThrottled": {"It was once.", scraped{`penstock_route53_throttles_total{operation="GetChange"}`: "7x120"}, nil},
		"AllZero":      {"Everybody gets traffic.", scraped{`penstock_route53_all_weights_zero{name="www.example.com"}`: "1x120"}, []string{"PenstockAllWeightsZero"}},
		"SomeZero":     {"Somebody has a weight.", scraped{`penstock_route53_all_weights_zero{name="www.example.com"}`: "0x120"}, nil},
		"StoreAway":    {"No round succeeds.", scraped{rounds + `error"}`: "0+1x120", rounds + `ok"}`: "5x120"}, []string{"PenstockStoreFailing"}},
		"StoreNever":   {"No round has ever succeeded.", scraped{rounds + `invalid"}`: "0+1x120", desired: ""}, []string{"PenstockStoreFailing", "PenstockWeightUnknown"}},
		"NobodyLeads":  {"Standbys alone are scraped, or a leader that has not read a row.", scraped{"penstock_route53_pending_publications": "0x120", desired: ""}, []string{"PenstockWeightUnknown"}},
		"HandOver":     {"Another one leads soon.", scraped{desired: "_x60 50x40", current: "_x60 50x40"}, nil},
		"StoreShaky":   {"Some rounds succeed.", scraped{rounds + `error"}`: "0+1x120", rounds + `ok"}`: "0+1x120"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(tc.series.load(), desired) { // most cases are about something else
				tc.series[desired], tc.series[current] = "50x120", "50x120"
			}
			storage := promqltest.LoadedStorage(t, tc.series.load())
			var raised []string
			for _, rule := range rules[0].Spec.Groups[0].Rules {
				wait, err := model.ParseDuration(string(*rule.For))
				if err != nil {
					t.Fatal(err)
				}
				holds := true
				for at := began.Add(hour - time.Duration(wait)); !at.After(began.Add(hour)); at = at.Add(time.Minute) {
					query, err := engine.NewInstantQuery(t.Context(), storage, nil, rule.Expr.String(), at)
					if err != nil {
						t.Fatal(err)
					}
					vector, err := query.Exec(t.Context()).Vector()
					if err != nil {
						t.Fatalf("%s: %v", rule.Alert, err)
					}
					holds = holds && len(vector) > 0
					query.Close()
				}
				if holds {
					raised = append(raised, rule.Alert)
				}
			}
			slices.Sort(raised)
			if diff := cmp.Diff(tc.want, raised); diff != "" {
				t.Errorf("%s\nalerts -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}
