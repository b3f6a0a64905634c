package route53_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// The environment is read at the first call, and again after a failure.
//
//nolint:paralleltest // it sets the environment
func TestEnvironmentClient(t *testing.T) {
	server, err := route53emulator.New(route53emulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	zone, err := server.AddZone("example.com")
	if err != nil {
		t.Fatal(err)
	}
	profile := filepath.Join(t.TempDir(), "config")
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": profile, "AWS_SHARED_CREDENTIALS_FILE": profile + "-none", "AWS_PROFILE": "cluster", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ENDPOINT_URL_ROUTE_53": server.Endpoint(), "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "",
	} {
		t.Setenv(name, value)
	}
	backend := route53.New(route53.NewEnvironmentClient(), zaptest.NewLogger(t).Sugar(), route53.Options{Rate: 100})
	pub := dns.Publication{
		Ingress: types.NamespacedName{Namespace: "shop", Name: "web"}, Cluster: "east",
		Records: []dns.Record{{Name: "www.example.com", Type: dns.A, SetIdentifier: "east", Weight: 50, Targets: []string{"192.0.2.10"}}},
	}
	if _, err := backend.Publish(t.Context(), pub); err == nil || !strings.Contains(err.Error(), "AWS configuration") {
		t.Fatalf("without the profile: error %v", err)
	}
	if err := os.WriteFile(profile, []byte("[profile cluster]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	statuses, err := backend.Publish(t.Context(), pub)
	if err != nil || statuses[0].Err != nil {
		t.Fatalf("%+v, error %v", statuses, err)
	}
	for _, set := range server.RecordSets(zone) {
		if *set.Name == "www.example.com." {
			return
		}
	}
	t.Error("nothing was published")
}
