package traffic

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	"github.com/penstock-dev/penstock/dns"
)

// maxNote is the longest note that the API takes.
// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
const maxNote = 1024

// announcer tells people what they have to mend, on the objects that it is about, and the same only once.
type announcer struct {
	recorder events.EventRecorder
	self     runtime.Object // the controller's own Pod

	mu   sync.Mutex // guards the following
	said map[types.NamespacedName]string
}

func newAnnouncer(recorder events.EventRecorder, pod types.NamespacedName) *announcer {
	return &announcer{
		recorder: recorder, said: map[types.NamespacedName]string{},
		self: &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}},
	}
}

// controller warns of what concerns the whole cluster.
func (a *announcer) controller(reason, message string) {
	a.once(types.NamespacedName{Name: reason}, message, func() {
		a.warn(a.self, reason, "Steer", message)
	})
}

// ingress warns of what keeps an Ingress from being published as it should.
func (a *announcer) ingress(ingress *networkingv1.Ingress, r dns.Result) {
	fault, warnings := errors.Join(r.Err, r.Status.Err), []string{}
	errs := []error{fault}
	for _, host := range r.Hosts {
		errs = append(errs, host.Err)
		if host.Warning != "" {
			warnings = append(warnings, host.Warning)
		}
	}
	if r.Status.Warning != "" {
		warnings = append(warnings, r.Status.Warning)
	}
	reason, message := "PublishedInPart", strings.Join(warnings, "; ")
	what := message
	if err := errors.Join(errs...); err != nil {
		reason, message = "NotPublished", text(err)
		if what = message; fault != nil && !errors.Is(fault, dns.ErrRefused) {
			what = passing
		}
	}
	if what != "" {
		what = string(ingress.UID) + " " + what // one that was made anew has not been told
	}
	a.once(r.Ingress, what, func() {
		about := ingress.DeepCopy() // typed objects from a cache lack what a reference needs
		about.SetGroupVersionKind(networkingv1.SchemeGroupVersion.WithKind("Ingress"))
		a.warn(about, reason, "Publish", message)
	})
}

// passing stands for a fault that passes, whose words, such as the id of a request, are others each time.
const passing = "a fault that passes"

// stuck warns of records that could not be withdrawn, of an Ingress that is gone: nothing is left to tell it on but the controller.
func (a *announcer) stuck(r dns.Result) {
	err := errors.Join(r.Err, r.Status.Err)
	var hosts []string
	for _, host := range r.Hosts {
		hosts = append(hosts, host.Host)
	}
	what := text(err)
	if !errors.Is(err, dns.ErrRefused) {
		what = passing
	}
	a.once(r.Ingress, what, func() {
		a.warn(a.self, "NotWithdrawn", "Publish", fmt.Sprintf(
			"ingress %s is gone, or not the controller's any more, and its records (%s) still lead here: %s", r.Ingress, strings.Join(hosts, ", "), text(err)))
	})
}

// warn makes an event. Kubernetes counts one up that has the same object, reason and action, and keeps the note of the first: so the action is another one
// for another note.
// https://pkg.go.dev/k8s.io/client-go/tools/events
func (a *announcer) warn(about runtime.Object, reason, action, note string) {
	note = shorten(note)
	a.recorder.Eventf(about, nil, corev1.EventTypeWarning, reason, fmt.Sprintf("%s-%08x", action, crc32.ChecksumIEEE([]byte(note))), "%s", note)
}

// forget says that nothing is wrong with an Ingress that has nothing to publish.
func (a *announcer) forget(name types.NamespacedName) { a.once(name, "", nil) }

// once calls say if what is to be said is not empty, and not what was said last about the object.
func (a *announcer) once(about types.NamespacedName, what string, say func()) {
	a.mu.Lock()
	same := a.said[about] == what
	if what == "" {
		delete(a.said, about)
	} else {
		a.said[about] = what
	}
	a.mu.Unlock()
	if what != "" && !same {
		say()
	}
}

func shorten(message string) string {
	if len(message) <= maxNote {
		return message
	}
	return strings.ToValidUTF8(message[:maxNote-3], "") + "..."
}
