package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"unicode"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// parse parses flags that may stand before, between and after the other arguments, which it returns. With -h it writes the help, of which the flags are
// the last part, to out. A negative number is an argument.
func parse(flags *flag.FlagSet, help string, args []string, out io.Writer) ([]string, error) {
	flags.SetOutput(io.Discard) // main tells the error
	flags.Usage = func() {}     // an error is a line, not the help
	var options, rest []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' || arg[1] >= '0' && arg[1] <= '9' {
			rest = append(rest, arg)
			continue
		}
		options = append(options, arg)
		name, _, joined := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if f := flags.Lookup(name); f != nil && !joined && !isSwitch(f) && i+1 < len(args) {
			i++
			options = append(options, args[i])
		}
	}
	switch err := flags.Parse(options); {
	case errors.Is(err, flag.ErrHelp):
		_, _ = fmt.Fprintf(out, "%s\nFlags:\n", help) // nobody is left to be told
		flags.SetOutput(out)
		flags.PrintDefaults()
		return nil, err //nolint:wrapcheck // main looks for it
	case err != nil:
		return nil, fmt.Errorf("%w: %s -h lists the flags", err, flags.Name())
	}
	return rest, nil
}

// isSwitch tells whether a flag takes no value.
func isSwitch(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// repeated is a flag that may be given several times.
type repeated []string

// String implements flag.Value.
func (r *repeated) String() string { return strings.Join(*r, ",") }

// Set implements flag.Value.
func (r *repeated) Set(value string) error {
	if value == "" {
		return errors.New("write a value")
	}
	*r = append(*r, value)
	return nil
}

// kubeconfig returns the configuration of a context, empty for the current one, and its namespace. In a Pod without a kubeconfig it is the Pod's.
func kubeconfig(path, context string) (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context})
	about := "current context"
	if context != "" {
		about = fmt.Sprintf("context %q", context)
	}
	kube, err := config.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("kubernetes configuration, %s: %w: look at the flags kubeconfig and context, and at KUBECONFIG", about, err)
	}
	namespace, _, err := config.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("kubernetes configuration, namespace of the %s: %w", about, err)
	}
	return kube, namespace, nil
}

// clean makes text that others wrote one line that cannot steer a terminal.
func clean(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
	}), " ")
}
