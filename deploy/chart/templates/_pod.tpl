{{- /*
A pod of the product, which complies with the Pod Security Standard `restricted`. Takes a dict:
  root, component, args, values (those of the process or of the jobs)
  source      the name of the ConfigMap, and of the Secret that the chart makes
  account     the name of the ServiceAccount
  image       repository, tag and digest, of another image than the product's
  isProcess   whether it runs on and answers HTTP, or is a step of the setup
  env, volumes, mounts (lists)   what only this component has
*/ -}}
{{- define "signal-broker.pod" -}}
{{- $root := .root }}
{{- $values := .root.Values }}
{{- $pod := mergeOverwrite (deepCopy $values.pod) (default dict .values.pod) }}
{{- $image := $values.image }}
{{- with .image }}
{{- if or .repository .tag .digest }}
{{- $image = merge (dict "repository" (default $values.image.repository .repository)) . }}
{{- end }}
{{- end }}
{{- $tracing := .isProcess | ternary (include "signal-broker.tracing" $values | fromYamlArray) list }}
{{- $env := concat (default list .env) $tracing $pod.extraEnv }}
{{- $mounts := concat (default list .mounts) $pod.extraVolumeMounts }}
{{- include "signal-broker.checkPod" (dict "root" .root "component" .component "isProcess" .isProcess "extraEnv" $pod.extraEnv "env" $env "mounts" $mounts) }}
{{- $selector := merge (dict "app.kubernetes.io/component" .component) (include "signal-broker.selector" .root | fromYaml) }}
metadata:
  labels:
    {{- merge (deepCopy $selector) $pod.labels | toYaml | nindent 4 }}
  annotations:
    {{- $sums := dict "checksum/settings" (include "signal-broker.settings" .root | sha256sum) }}
    {{- $_ := set $sums "checksum/secrets" (printf "%s %s" $values.secretChecksum (include "signal-broker.secrets" .root) | sha256sum) }}
    {{- $scraping := dict }}
    {{- if and .isProcess $values.prometheus.podAnnotations }}
    {{- $port := include "signal-broker.string" $values.settings.SIGNAL_BROKER_METRICS_PORT }}
    {{- $scraping = dict "prometheus.io/scrape" "true" "prometheus.io/port" $port "prometheus.io/path" "/metrics" }}
    {{- end }}
    {{- merge $sums $pod.annotations $scraping | toYaml | nindent 4 }}
spec:
  serviceAccountName: {{ .account | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false # they would set SIGNAL_BROKER_PORT and others, which look like settings
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    {{- if not $values.openshift }}
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001 # volumes belong to root otherwise
    fsGroupChangePolicy: OnRootMismatch
    {{- end }}
    seccompProfile: {type: RuntimeDefault}
  {{- with $pod.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with $pod.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .isProcess }}
  terminationGracePeriodSeconds: {{ add (ceil $values.settings.SIGNAL_BROKER_DRAIN_TIMEOUT_SECONDS | int) (default 0 .values.preStopSeconds | int) 15 }}
  topologySpreadConstraints:
    {{- $ours := dict "labelSelector" (dict "matchLabels" $selector) "matchLabelKeys" (list "pod-template-hash") "nodeTaintsPolicy" "Honor" }}
    {{- $nodes := dict "topologyKey" "kubernetes.io/hostname" "maxSkew" 1 "whenUnsatisfiable" $pod.spread.nodes }}
    {{- $zones := dict "topologyKey" "topology.kubernetes.io/zone" "maxSkew" 1 "whenUnsatisfiable" $pod.spread.zones }}
    {{- $default := list $nodes $zones }}
    {{- range default $default $pod.topologySpreadConstraints }}
    - {{ merge (deepCopy .) $ours | toYaml | nindent 6 | trim }}
    {{- end }}
  {{- else }}
  restartPolicy: OnFailure
  {{- end }}
  containers:
    - name: signal-broker
      image: {{ include "signal-broker.image" (dict "repository" $image.repository "tag" (default $root.Chart.AppVersion $image.tag) "digest" $image.digest) }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{- toYaml .args | nindent 8 }}
      envFrom:
        - configMapRef: {name: {{ .source }}}
        - secretRef: {name: {{ default .source $values.existingSecret | quote }}}
      {{- with $env }}
      env:
        {{- include "signal-broker.env" . | trim | nindent 8 }}
      {{- end }}
      {{- if .isProcess }}
      ports:
        - {name: http, containerPort: {{ include "signal-broker.string" $values.settings.SIGNAL_BROKER_HTTP_PORT }}}
        - {name: metrics, containerPort: {{ include "signal-broker.string" $values.settings.SIGNAL_BROKER_METRICS_PORT }}}
      startupProbe: # it answers as soon as it has read its settings, whatever it waits for
        httpGet: {path: /livez, port: http}
        periodSeconds: 2
        failureThreshold: 60
      readinessProbe: # it can do its work; without RabbitMQ or PostgreSQL a worker cannot, and a restart would not help
        httpGet: {path: /readyz, port: http}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      livenessProbe: # the process itself is stuck; without RabbitMQ or PostgreSQL it lives on
        httpGet: {path: /livez, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      {{- with .values.preStopSeconds }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ . }}}
      {{- end }}
      {{- end }}
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
        readOnlyRootFilesystem: true
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- with $mounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- with concat (default list .volumes) $pod.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
