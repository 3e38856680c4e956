{{- /*
A Deployment and its PodDisruptionBudget. Takes a dict: root, component, args, values (those of the process), and what else
"signal-broker.pod" takes of a component.
*/ -}}
{{- define "signal-broker.process" -}}
{{- $name := include "signal-broker.processName" . }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels:
    {{- include "signal-broker.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- /* The autoscaler owns the number, if there is one: a number here would undo its work at every upgrade. */}}
  {{- if not (dig "autoscaling" "enabled" false .values) }}
  replicas: {{ .values.replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "signal-broker.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  {{- with .strategy }}
  strategy:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  template:
    {{- $process := dict "isProcess" true "source" (include "signal-broker.fullname" .root) "account" (include "signal-broker.serviceAccount" .root) }}
    {{- include "signal-broker.pod" (merge $process .) | trim | nindent 4 }}
{{- with .values.disruptionBudget }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  labels:
    {{- include "signal-broker.labels" $.root | nindent 4 }}
    app.kubernetes.io/component: {{ $.component }}
spec:
  {{- $budget := hasKey . "minAvailable" | ternary (omit . "maxUnavailable") . }}
  {{- merge (deepCopy $budget) (dict "unhealthyPodEvictionPolicy" "AlwaysAllow") | toYaml | nindent 2 }}
  selector:
    matchLabels:
      {{- include "signal-broker.selector" $.root | nindent 6 }}
      app.kubernetes.io/component: {{ $.component }}
{{- end }}
{{- end }}
