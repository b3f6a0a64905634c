{{/* Name of the objects. */}}
{{- define "penstock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains "penstock" .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-penstock" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of what has no namespace, of which several releases must not share one. */}}
{{- define "penstock.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "penstock.fullname" .) -}}
{{- end -}}

{{- define "penstock.selectorLabels" -}}
app.kubernetes.io/name: penstock
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: controller
{{- end -}}

{{- define "penstock.labels" -}}
{{ include "penstock.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: penstock
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{- define "penstock.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "penstock.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "penstock.image" -}}
{{- $i := .Values.image -}}
{{- with $i.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ $i.repository }}:{{ $i.tag | default .Chart.AppVersion }}{{ with $i.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* Ports of the addresses that the controller listens on. */}}
{{- define "penstock.metricsPort" -}}
{{- regexFind "[0-9]+$" (.Values.options.metricsAddr | default ":8080") -}}
{{- end -}}
{{- define "penstock.healthPort" -}}
{{- regexFind "[0-9]+$" (.Values.options.healthAddr | default ":8081") -}}
{{- end -}}

{{/* Flags by their key in options. */}}
{{- define "penstock.flags" -}}
metricsAddr: metrics-addr
healthAddr: health-addr
logLevel: log-level
clusterName: cluster-name
bindingDomain: binding-domain
annotationFilter: annotation-filter
annotationPrefix: annotation-prefix
awsHealthCheckID: aws-health-check-id
devMode: dev-mode
solePublisher: sole-publisher
backendType: backend-type
initialWeight: initial-weight
pollInterval: poll-interval
awsRegion: aws-region
tableName: table-name
namespace: namespace
configmap: configmap
enableLeaderElection: enable-leader-election
leaderElectionNamespace: leader-election-namespace
dnsBackend: dns-backend
dnsResolvers: dns-resolvers
assumeSyncAfter: assume-sync-after
hostTTL: host-ttl
innerTTL: inner-ttl
route53Zones: route53-zones
route53AdoptOwner: route53-adopt-owner
route53AdoptTXTPrefix: route53-adopt-txt-prefix
route53AdoptTXTSuffix: route53-adopt-txt-suffix
route53AdoptTXTWildcard: route53-adopt-txt-wildcard
route53AdoptOrigin: route53-adopt-origin
route53Rate: route53-rate
kubeAPIQPS: kube-api-qps
kubeAPIBurst: kube-api-burst
rampStep: ramp-step
rampInterval: ramp-interval
rampFailures: ramp-failures
rampQuery: ramp-query
rampQueryMin: ramp-query-min
rampQueryMax: ramp-query-max
prometheusURL: prometheus-url
rampHealthCheck: ramp-health-check
rampReady: ramp-ready
{{- end -}}

{{/*
Arguments of the container. What is empty is not passed, 0 and false are. Kubernetes takes $(NAME) in an argument for a variable, so the $ of
options, of which PromQL and regular expressions have some, are doubled.
*/}}
{{- define "penstock.args" -}}
- controller
{{- $flags := include "penstock.flags" . | fromYaml }}
{{- range $key, $value := .Values.options }}
{{- $text := "" }}
{{- if kindIs "slice" $value }}
{{- $text = join "," $value }}
{{- else if and (kindIs "float64" $value) (eq (floor $value) $value) (lt (floor $value) 1e15) (gt (floor $value) -1e15) }}
{{- $text = printf "%d" (int64 $value) }}
{{- else if not (kindIs "invalid" $value) }}
{{- $text = printf "%v" $value }}
{{- end }}
{{- if $text }}
- {{ printf "--%s=%s" (get $flags $key) ($text | replace "$" "$$") | quote }}
{{- end }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}
