// Validates objects of custom resources, as their operators define them: JSON on stdin, faults on stderr.
import { HTTPRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute";
import { PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";
import { readFileSync } from "node:fs";

const models = { HTTPRoute, PrometheusRule, ServiceMonitor };
for (const document of JSON.parse(readFileSync(0))) {
  new models[document.kind](document).validate();
}
