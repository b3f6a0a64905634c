package charts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/controllers/traffic"
)

// right is one thing that the controller may do.
type right struct {
	where    string // cluster, lease, store or viewer: which role has it
	resource string // group/resource, with the name where it is limited to one
	verbs    string
	// file and call are where the code does it; an empty file is a library's.
	file, call string
	reason     string
	when       func(o *traffic.Options) bool // nil is always
}

func withExternalDNS(o *traffic.Options) bool    { return o.Backend == traffic.BackendExternalDNS }
func withLeaderElection(o *traffic.Options) bool { return o.LeaderElection }
func withRoute53(o *traffic.Options) bool        { return o.Backend == traffic.BackendRoute53 }
func withConfigMap(o *traffic.Options) bool      { return o.Store == traffic.StoreConfigMap }

const (
	watchFile   = "../controllers/traffic/watch.go"
	eventsFile  = "../controllers/traffic/events.go"
	publishFile = "../dns/externaldns/object.go"
	storeFile   = "../controllers/store/configmap.go"
	statusFile  = "../controllers/cmd/penstock/status.go"
)

// rights is all that the controller calls, and so all that it may do.
var rights = []right{
	{"cluster", "networking.k8s.io/ingresses", "list watch", watchFile, "crsource.TypedKind(caches, &networkingv1.Ingress{}", "a cache holds the hosts", nil},
	{"cluster", "networking.k8s.io/ingresses", "get", "../controllers/traffic/source.go", "s.caches.Get(ctx, name, ingress)", "one is read, from the cache; kubectl users expect get beside list", nil},
	{"cluster", "discovery.k8s.io/endpointslices", "list watch", watchFile, "crsource.TypedKind(caches, &discoveryv1.EndpointSlice{}", "a cache holds who is ready", nil},
	{"cluster", "discovery.k8s.io/endpointslices", "get", "../controllers/traffic/source.go", "discoveryv1.EndpointSliceList{}", "as above", nil},
	{"cluster", "/configmaps", "list watch", watchFile, "crsource.TypedKind(caches, &corev1.ConfigMap{}", "a cache holds what Canaries want", nil},
	{"cluster", "/configmaps", "get", "../controllers/traffic/source.go", "corev1.ConfigMapList{}", "as above", nil},
	{"cluster", "/configmaps", "patch", "../dns/source.go", ".Apply(ctx, apply", "data.observed is answered by server-side apply, which is a patch; the UID keeps it from creating any", nil},
	{"cluster", "events.k8s.io/events", "create patch", eventsFile, "a.recorder.Eventf(", "warnings; a repeated one is patched", nil},
	{"cluster", "externaldns.k8s.io/dnsendpoints", "list watch", watchFile, "crsource.TypedKind(caches, newDNSEndpoint()", "a cache holds the records", withExternalDNS},
	{"cluster", "externaldns.k8s.io/dnsendpoints", "get", "../dns/externaldns/read.go", ".Get(ctx, name.Name, metav1.GetOptions{})", "the API server is asked while the cache is behind", withExternalDNS},
	{"cluster", "externaldns.k8s.io/dnsendpoints", "create", publishFile, "client.Create(ctx, object", "records of a new Ingress", withExternalDNS},
	{"cluster", "externaldns.k8s.io/dnsendpoints", "update", publishFile, "client.Update(ctx, object", "records that change", withExternalDNS},
	{"cluster", "externaldns.k8s.io/dnsendpoints", "delete", publishFile, ".Delete(ctx, pub.Ingress.Name", "records that are withdrawn; it also permits to change owner references", withExternalDNS},
	{"cluster", "/namespaces:kube-system", "get", "../controllers/traffic/origin.go", ".Namespaces().Get(ctx, metav1.NamespaceSystem", "its UID tells two clusters of one name apart", withRoute53},
	{"lease", "coordination.k8s.io/leases", "create", "", "", "client-go's LeaseLock makes the Lease; a role cannot limit create to a name", withLeaderElection},
	{"lease", "coordination.k8s.io/leases:" + traffic.LeaseID, "get update", "", "", "client-go's LeaseLock reads and updates it, and gives it up by an update", withLeaderElection},
	{"lease", "/events", "create patch", "", "", "controller-runtime tells who leads by client-go's older recorder, in the namespace of the Lease", withLeaderElection},
	{"store", "/configmaps", "create", storeFile, ".Create(ctx, configMap, metav1.CreateOptions{})", "the first row; a role cannot limit create to a name", withConfigMap},
	{"store", "/configmaps:NAME", "get", storeFile, ".Get(ctx, c.name.Name, metav1.GetOptions{})", "the row is read", withConfigMap},
	{"store", "/configmaps:NAME", "list watch", storeFile, "NewFilteredConfigMapInformer", "and watched, by its name", withConfigMap},
	{"store", "/configmaps:NAME", "update", storeFile, ".Update(ctx, configMap, metav1.UpdateOptions{})", "CurrentWeight is acknowledged", withConfigMap},
}

// viewing is all that `penstock status` calls.
var viewing = []right{
	{"viewer", "coordination.k8s.io/leases:" + traffic.LeaseID, "get", statusFile, ".Leases(namespace).Get(ctx, traffic.LeaseID", "who leads", nil},
	{"viewer", "/pods", "list", statusFile, ".Pods(namespace).List(ctx", "who may, where there is no Lease", nil},
	{"viewer", "/pods/proxy", "get", statusFile, `.Resource("pods").SubResource("proxy")`, "what the leader says", nil},
}

// Each right has a call in the code that needs it.
func TestRightsHaveCalls(t *testing.T) {
	t.Parallel()
	for _, r := range slices.Concat(rights, viewing) {
		if r.reason == "" {
			t.Errorf("%s %s has no reason", r.resource, r.verbs)
		}
		if r.file == "" {
			continue
		}
		text, err := os.ReadFile(filepath.FromSlash(r.file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), r.call) {
			t.Errorf("%s does not hold %q any more, for which the controller may %s %s: see whether it still calls that", r.file, r.call, r.verbs, r.resource)
		}
	}
}

// The roles hold what the controller calls with the options of each case, and no more, and are bound to its ServiceAccount.
func TestRoles(t *testing.T) {
	t.Parallel()
	for name, values := range cases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := decode(t, mustRender(t, values))
			_, opts := flagsOf(t, objects)
			if err := opts.Complete(); err != nil {
				t.Fatal(err)
			}
			got := granted(objects)
			if len(got) == 0 && strings.Contains(values, "rbac:") {
				return // the case is one without roles
			}
			var want []string
			all := rights
			if strings.Contains(values, "viewer: true") {
				all = slices.Concat(rights, viewing)
			}
			for _, r := range all {
				if r.when != nil && !r.when(opts) {
					continue
				}
				for verb := range strings.FieldsSeq(r.verbs) {
					want = append(want, r.where+" "+strings.ReplaceAll(r.resource, "NAME", opts.ConfigMap)+" "+verb)
				}
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rights -want +got:\n%s", diff)
			}
			bound(t, objects, opts)
		})
	}
}

// granted returns what the roles permit, one verb of one resource each.
func granted(objects []metav1.Object) []string {
	var all []string
	add := func(where string, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						suffix := ""
						if len(rule.ResourceNames) > 0 {
							suffix = ":" + strings.Join(rule.ResourceNames, ",")
						}
						all = append(all, fmt.Sprintf("%s %s/%s%s %s", where, group, resource, suffix, verb))
					}
				}
			}
		}
	}
	for _, o := range of[*rbacv1.ClusterRole](objects) {
		add("cluster", o.Rules)
	}
	for _, o := range of[*rbacv1.Role](objects) {
		add(o.Name[strings.LastIndex(o.Name, "-")+1:], o.Rules)
	}
	slices.Sort(all)
	return all
}

// bound checks that each role is bound to the ServiceAccount of the Pods, and lies in the namespace that the options say.
func bound(t *testing.T, objects []metav1.Object, opts *traffic.Options) {
	t.Helper()
	account := deployment(t, objects).Spec.Template.Spec.ServiceAccountName
	subjects := map[string][]rbacv1.Subject{}
	for _, o := range of[*rbacv1.ClusterRoleBinding](objects) {
		subjects[o.RoleRef.Kind+" "+o.RoleRef.Name] = o.Subjects
	}
	for _, o := range of[*rbacv1.RoleBinding](objects) {
		subjects[o.RoleRef.Kind+" "+o.Namespace+"/"+o.RoleRef.Name] = o.Subjects
	}
	var roles []string
	for _, o := range of[*rbacv1.ClusterRole](objects) {
		roles = append(roles, "ClusterRole "+o.Name)
	}
	for _, o := range of[*rbacv1.Role](objects) {
		if strings.HasSuffix(o.Name, "-viewer") {
			continue // people bind it
		}
		roles = append(roles, "Role "+o.Namespace+"/"+o.Name)
		want := opts.LeaderElectionNamespace
		if strings.HasSuffix(o.Name, "-store") {
			want = opts.Namespace
		}
		if want == "" {
			want = namespace
		}
		if o.Namespace != want {
			t.Errorf("role %s is in namespace %s, want %s", o.Name, o.Namespace, want)
		}
	}
	for _, role := range roles {
		want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: namespace}}
		if diff := cmp.Diff(want, subjects[role]); diff != "" {
			t.Errorf("%s is bound to -want +got:\n%s", role, diff)
		}
	}
}
