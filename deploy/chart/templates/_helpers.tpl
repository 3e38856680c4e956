{{- define "signal-broker.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* A name of at most `limit` characters: a longer one ends with a hash, so that no two become the same. Takes a dict: name, limit. */ -}}
{{- define "signal-broker.cut" -}}
{{- if le (len .name) .limit -}}
{{ .name }}
{{- else -}}
{{ trunc (sub .limit 7 | int) .name | trimSuffix "-" }}-{{ sha256sum .name | trunc 6 }}
{{- end -}}
{{- end }}

{{- /* Room is left for the longest suffix of a name that is a label, too. A release may have dots, the name of a Service not. */ -}}
{{- define "signal-broker.fullname" -}}
{{- $name := include "signal-broker.name" . -}}
{{- $default := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) | replace "." "-" -}}
{{- $full := include "signal-broker.cut" (dict "name" (default $default .Values.fullnameOverride | trimSuffix "-") "limit" 40) -}}
{{- if not (regexMatch "^[a-z][a-z0-9-]*$" $full) }}
{{- fail (printf "no Service can be called %s: set fullnameOverride to letters (a-z), digits and -, beginning with a letter" $full) }}
{{- end -}}
{{ $full }}
{{- end }}

{{- /* KEDA's autoscaler is called `keda-hpa-` and the name of the process, and may have 63 characters. Takes a dict: root, component. */ -}}
{{- define "signal-broker.processName" -}}
{{ include "signal-broker.cut" (dict "name" (printf "%s-%s" (include "signal-broker.fullname" .root) .component) "limit" 54) }}
{{- end }}

{{- define "signal-broker.selector" -}}
app.kubernetes.io/name: {{ include "signal-broker.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "signal-broker.labels" -}}
{{ include "signal-broker.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "signal-broker.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "signal-broker.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- /* Large numbers in values are floats, which would print as 2.097152e+06. */ -}}
{{- define "signal-broker.string" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{- /* A quantity of memory, such as 320Mi or 1.5G, in bytes. */ -}}
{{- define "signal-broker.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $text := include "signal-broker.string" . -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- if hasKey $units $unit -}}
{{ mulf (float64 (trimSuffix $unit $text)) (float64 (get $units $unit)) | int64 }}
{{- else -}}
9223372036854775807
{{- end -}}
{{- end }}

{{- define "signal-broker.required" -}}
[SIGNAL_BROKER_TRANSPORT_URL, SIGNAL_BROKER_STORE_URL]
{{- end }}

{{- define "signal-broker.settings" -}}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ include "signal-broker.string" $value | quote }}
{{- end }}
{{- end }}

{{- define "signal-broker.secrets" -}}
{{- range $name, $value := .Values.secrets }}
{{- if or (contains "replace-me" $value) (contains "cmVwbGFjZS1tZS" $value) }}
{{- fail (printf "secrets.%s is the placeholder of an example: put your own value there" $name) }}
{{- end }}
{{ $name }}: {{ b64enc $value }}
{{- end }}
{{- end }}

{{- define "signal-broker.secret" -}}
{{ default (include "signal-broker.fullname" .) .Values.existingSecret }}
{{- end }}

{{- define "signal-broker.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end }}

{{- /* The variables of OpenTelemetry, as `env` of a container has them. A variable can have another one's value only after it. */ -}}
{{- define "signal-broker.tracing" -}}
{{- if and .tracing (not (hasKey .tracing "OTEL_RESOURCE_ATTRIBUTES")) }}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: OTEL_RESOURCE_ATTRIBUTES, value: "k8s.pod.name=$(POD_NAME)"}
{{- end }}
{{- range $name, $value := .tracing }}
{{- if hasSuffix "_HEADERS" $name }}
{{- fail (printf "tracing.%s may hold credentials: put it into the Secret" $name) }}
{{- end }}
- {name: {{ $name }}, value: {{ include "signal-broker.string" $value | quote }}}
{{- end }}
{{- end }}

{{- /* A list of variables with each name once: where it is first, with the value that it has last. */ -}}
{{- define "signal-broker.env" -}}
{{- $last := dict }}
{{- $names := list }}
{{- range . }}
{{- $_ := set $last .name . }}
{{- $names = append $names .name }}
{{- end }}
{{- range uniq $names }}
- {{ get $last . | toYaml | nindent 2 | trim }}
{{- end }}
{{- end }}
