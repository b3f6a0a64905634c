package main

import (
	"io"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/controllers/traffic"
)

func TestPlanText(t *testing.T) {
	t.Parallel()
	p := traffic.Planned{
		Cluster: "east", Weight: 50, Row: &store.Row{DesiredWeight: 50, CurrentWeight: 100}, Notes: []string{"the gates are not asked here"},
		Changes: []traffic.PlannedChange{
			{
				Action: traffic.CreateRecord, Namespace: "shop", Ingress: "web", Name: "new.example.com", Type: "A", SetIdentifier: "east",
				To: &traffic.PlannedRecord{Weight: 50, Targets: []string{"192.0.2.1"}, TTLSeconds: 60, HealthCheckID: "check"}, Reasons: []string{"new host", "cluster weight 50"},
			},
			{
				Action: traffic.DeleteRecord, Namespace: "shop", Ingress: "old", Name: "old.example.com", Type: "CNAME", SetIdentifier: "east",
				From: &traffic.PlannedRecord{Weight: 100, Targets: []string{"lb.example.net"}}, Reasons: []string{"Ingress gone"},
			},
			{
				Action: traffic.ChangeRecord, Namespace: "shop", Ingress: "web", Name: "web.example.com", Type: "A", SetIdentifier: "east",
				From:    &traffic.PlannedRecord{Weight: 100, Targets: []string{"192.0.2.1"}},
				To:      &traffic.PlannedRecord{Weight: 50, Targets: []string{"east._canary.web.example.com"}, Alias: true, TTLSeconds: 60, HealthCheckID: "check"},
				Reasons: []string{"cluster weight 100 -> 50", "TTL of the flag host-ttl"},
			},
			{
				Action: traffic.ChangeRecord, Namespace: "shop", Ingress: "web", Name: "same.example.com", Type: "TXT",
				From: &traffic.PlannedRecord{Targets: []string{"a", "b"}}, To: &traffic.PlannedRecord{Targets: []string{"a", "b"}}, Reasons: []string{"adopted from an earlier controller"},
			},
			{
				Action: traffic.ChangeRecord, Namespace: "shop", Ingress: "web", Name: "taken.example.com", Type: "A",
				To: &traffic.PlannedRecord{Targets: []string{"192.0.2.1"}}, Reasons: []string{"adopted from an earlier controller"},
			},
			{Action: traffic.ChangeRecord, Name: "nothing.example.com"},
		},
		Problems: []traffic.PlannedProblem{
			{Severity: traffic.Refused, Namespace: "shop", Ingress: "bad", Host: "bad.example.com", Message: "it has no\nload balancer"},
			{Severity: traffic.Unknown, Namespace: "shop", Ingress: "dark", Message: "timeout"},
			{Severity: traffic.Warned, Namespace: "shop", Ingress: "web", Canary: "web", Message: "held"},
		},
	}
	golden(t, "plan.txt", planText(p))
	p.Changes = nil
	p.Problems = p.Problems[:2]
	golden(t, "plan-incomplete.txt", planText(p))
	golden(t, "plan-empty.txt", planText(traffic.Planned{Cluster: "east", Weight: 30, Notes: []string{"the store has no row"}}))
}

// planned is an API server with one Ingress whose record has a weight.
func planned(t *testing.T, weight string) *api {
	t.Helper()
	list := func(kind, version string, items ...any) any {
		return map[string]any{"kind": kind, "apiVersion": version, "metadata": map[string]any{}, "items": append([]any{}, items...)}
	}
	service := map[string]any{"service": map[string]any{"name": "web"}}
	return &api{t: t, at: map[string]any{
		"/api/v1/configmaps": list("ConfigMapList", "v1"),
		"/api/v1/namespaces/penstock/configmaps/penstock-traffic": map[string]any{
			"kind": "ConfigMap", "apiVersion": "v1", "data": map[string]any{"ClusterName": "east", "DesiredWeight": "50", "CurrentWeight": "100"},
		},
		"/apis/networking.k8s.io/v1/ingresses": list("IngressList", "networking.k8s.io/v1", map[string]any{
			"metadata": map[string]any{"namespace": "shop", "name": "web", "uid": "u"},
			"spec":     map[string]any{"rules": []any{map[string]any{"host": "web.example.com", "http": map[string]any{"paths": []any{map[string]any{"path": "/", "backend": service}}}}}},
			"status":   map[string]any{"loadBalancer": map[string]any{"ingress": []any{map[string]any{"hostname": "lb.example.net"}}}},
		}),
		"/apis/discovery.k8s.io/v1/endpointslices": list("EndpointSliceList", "discovery.k8s.io/v1", map[string]any{
			"metadata":  map[string]any{"namespace": "shop", "name": "web-1", "labels": map[string]any{"kubernetes.io/service-name": "web"}},
			"endpoints": []any{map[string]any{"addresses": []any{"192.0.2.1"}}},
		}),
		"/apis/externaldns.k8s.io/v1alpha1/dnsendpoints": list("DNSEndpointList", "externaldns.k8s.io/v1alpha1", map[string]any{
			"apiVersion": "externaldns.k8s.io/v1alpha1", "kind": "DNSEndpoint",
			"metadata": map[string]any{
				"namespace": "shop", "name": "web", "labels": map[string]any{"app.kubernetes.io/managed-by": "penstock"}, "annotations": map[string]any{"penstock.dev/cluster": "east"},
			},
			"spec": map[string]any{"endpoints": []any{map[string]any{
				"dnsName": "web.example.com", "recordType": "CNAME", "setIdentifier": "east", "targets": []any{"lb.example.net"},
				"providerSpecific": []any{map[string]any{"name": "aws/weight", "value": weight}},
			}}},
		}),
	}}
}

// The server fails the test at every request that is no GET.
func TestPlanCommand(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		weight string
		args   []string
		gone   string
		code   int
		want   string
		golden string
	}{
		"Changes": {reason: "Changes are what the exit code tells.", weight: "100", code: changesPlanned, golden: "plan-changes.txt"},
		"JSON":    {reason: "Programs get all there is.", weight: "100", args: []string{"-o", "json"}, code: changesPlanned, golden: "plan-changes.json"},
		"Nothing": {reason: "Nothing to do is success.", weight: "50", golden: "plan-nothing.txt"},
		"NoRow":   {reason: "No row is made, and the plan says what it would be.", weight: "30", args: []string{"--configmap", "other", "--initial-weight", "30"}, golden: "plan-norow.txt"},
		"Fixed":   {reason: "The weight of a flag has no row.", weight: "30", args: []string{"--backend-type", "fake", "--initial-weight", "30"}, golden: "plan-fixed.txt"},
		"NoCRD": {
			reason: "What all of the cluster lacks is said once.", gone: "/apis/externaldns.k8s.io/v1alpha1/dnsendpoints", code: failed, golden: "plan-nocrd.txt",
		},
		"Unknown":   {reason: "A plan that lacks something is an error.", weight: "50", args: []string{"--cluster-name", "eas"}, code: failed, want: "give each cluster a ConfigMap of its own"},
		"Forbidden": {reason: "What cannot be read is an error.", weight: "50", gone: "/apis/networking.k8s.io/v1/ingresses", code: failed, want: "list ingresses"},
		"Flag":      {reason: "Flags are checked as the controller does.", args: []string{"--ramp-step", "500"}, code: usageFailed, want: "flag ramp-step"},
		"NoFlag":    {reason: "A flag that does not exist is named.", args: []string{"--ramp-stp", "5"}, code: usageFailed, want: "ramp-stp"},
		"Argument":  {reason: "Nothing but flags.", args: []string{"east"}, code: usageFailed, want: `argument "east"`},
		"Output":    {reason: "Two formats.", args: []string{"-o", "yaml"}, code: usageFailed, want: `flag o "yaml"`},
		"Context":   {reason: "A context that does not exist is named.", args: []string{"--context", "nowhere"}, code: failed, want: `context "nowhere"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := planned(t, tc.weight)
			delete(server.at, tc.gone)
			path := writeKubeconfig(t, "penstock", [2]string{"a", server.serve()})
			var out output
			args := append([]string{"--cluster-name", "east", "--backend-type", "configmap", "--kubeconfig", path}, tc.args...)
			code, err := runPlan(t.Context(), args, &out, io.Discard)
			if code != tc.code || (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\ncode %d, error %v; want code %d and %q\n%s", tc.reason, code, err, tc.code, tc.want, out.String())
			}
			if tc.golden != "" {
				golden(t, tc.golden, out.String())
			}
		})
	}
}
