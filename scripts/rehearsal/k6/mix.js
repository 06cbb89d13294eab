// The sample shop's mix of requests, as scripts/rehearsal/workload.py has it. Pure: chance, plan and memory come from outside.
// Every write has a client_ref of its own, and refers only to rows that exist.

const USERS = 20000;
const HOT = 64;            // products that get most of the increments

export function planOf(env) {
  const number = (name) => Number(env[name]);
  return { customers: number("CUSTOMERS"), products: number("PRODUCTS"), orders: number("ORDERS"), writes: number("WRITES") };
}

export function next(chance, plan, memory, ref) {
  const whole = (low, high) => low + Math.floor(chance() * (high - low + 1));
  const pick = (list) => list[whole(0, list.length - 1)];
  const user = `user-${whole(1, USERS)}`;
  const get = (name, path) => ({ name, method: "GET", path, user, body: null });
  const send = (name, method, path, body, by = user) => ({ name, method, path, user: by, body: { client_ref: ref, ...body } });
  const items = () => [{ product_id: whole(1, plan.products), quantity: whole(1, 4) }];

  const dice = chance();
  if (chance() >= plan.writes) {
    if (dice < 0.45) return get("order", `/orders/${whole(1, plan.orders)}`);
    if (dice < 0.60) return get("customer", `/customers/${whole(1, plan.customers)}`);
    return get("product", `/products/${whole(1, plan.products)}`);
  }
  if (dice < 0.30) {
    const product = whole(1, chance() < 0.8 ? Math.min(HOT, plan.products) : plan.products);
    return send("adjust", "POST", `/inventory/${product}/adjust`, { delta: pick([-3, -2, -1, 1, 2, 3, 5]) });
  }
  if (dice < 0.45) {
    const values = { loyalty_points: whole(0, 1000000), newsletter: chance() < 0.5 };
    return send("customer-change", "PUT", `/customers/${whole(1, plan.customers)}`, values);
  }
  if (dice < 0.55 && memory.done.length) {
    const { user: by, order } = memory.done.shift();
    return send("status", "POST", `/orders/${order}/status`, { status: pick(["paid", "packed", "shipped", "delivered"]) }, by);
  }
  if (dice < 0.67 && memory.unpaid.length) {
    const { user: by, order, total } = memory.unpaid.shift();
    const method = pick(["card", "momo", "zalopay", "cash"]);
    return { ...send("payment", "POST", "/payments", { order_id: order, amount: total, method }, by), order };
  }
  if (dice < 0.77) return send("cart", "POST", "/carts", { customer_id: whole(1, plan.customers), items: items() });
  const note = chance() < 0.25 ? "Giao nhanh giúp mình nhé 🙏" : null;
  return send("order-placed", "POST", "/orders", {
    customer_id: whole(1, plan.customers), items: items(), gift_wrap: pick([0, 0, 0, 1, 2]), note,
  });
}

export function remember(memory, request, answer) {
  if (request.name === "order-placed") memory.unpaid.push({ user: request.user, order: answer.id, total: answer.total });
  if (request.name === "payment") memory.done.push({ user: request.user, order: request.order });
}
